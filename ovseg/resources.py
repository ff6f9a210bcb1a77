"""Location of ovseg's configs and tools."""
import difflib
from pathlib import Path
from typing import Dict

from ovseg.utils import quoted, shown

PACKAGE = Path(__file__).parent
SUFFIXES = ('.py', '.json', '.yaml', '.yml')  # of files that mmengine reads
DEFAULT_BENCHMARKS = ('ade20k', 'demo')  # a name without a benchmark stands for the first one that its method has


def configs_dir() -> Path:
    """The folder of the configs: inside an installed package (``ovseg/.mim``), beside the package in a checkout.

    Raises:
        FileNotFoundError: there is none; says where it was looked for.
    """
    places = (PACKAGE / '.mim' / 'configs', PACKAGE.parent / 'configs')
    for place in places:
        if place.is_dir():
            return place
    raise FileNotFoundError(f'ovseg has no configs: neither {places[0]} nor {places[1]} is a folder. Install ovseg by pip, or '
                            'use a whole checkout')


def config_names() -> Dict[str, Path]:
    """Config files by each of their names.

    ``gated/gated_vit-b16_ade20k.py`` in the folder of configs has this path as a name, ``gated_vit-b16_ade20k``, and
    ``gated_vit-b16``, which stands for the method's config on ADE20K, a benchmark of everyday scenes without background, or on
    the demo scenes for the tiny CLIP. Parts of configs, in ``_base_``, only have their path.
    """
    root = configs_dir()
    paths = {path.relative_to(root).as_posix(): path for path in sorted(root.rglob('*.py'))}
    stems = {path.stem: path for name, path in paths.items() if '_base_' not in Path(name).parts}
    short = {stem[:-len(benchmark) - 1]: path for benchmark in reversed(DEFAULT_BENCHMARKS)
             for stem, path in stems.items() if stem.endswith(f'_{benchmark}')}
    return {**paths, **short, **stems}


def config_path(name: str) -> str:
    """Path of a config that comes with ovseg, for ``_base_`` of a config anywhere.

        _base_ = [__import__('ovseg').config_path('gated/gated_vit-b16_ade20k.py')]

    Args:
        name: One of ``config_names``.

    Raises:
        ValueError: there is no such config; lists those whose names are near.
    """
    return str(named_config(name, 'config_path'))


def named_config(name: str, key: str) -> Path:
    """The config file of a name in ``config_names``; errors call it ``key``.

    Raises:
        ValueError: as ``config_path``.
    """
    files = config_names()
    if name not in files:
        near = difflib.get_close_matches(name, sorted(files, key=len), 5)
        raise ValueError(f'{key}={shown(name)} is no config of ovseg; ' + (f'near: {", ".join(near)}; ' if near else '')
                         + 'ovseg list configs names all of them, and a path must end with .py')
    return files[name]


def config_file(name: str, key: str = 'config') -> Path:
    """The config that a user names: a file, or one of ``config_names``.

    Raises:
        FileNotFoundError: the name ends like that of a file (``SUFFIXES``), and there is none.
        ValueError: there is no such config; lists those whose names are near.
    """
    path = Path(name)
    if path.suffix not in SUFFIXES or (not path.exists() and name in config_names()):
        return named_config(name, key)
    if not path.exists():
        raise FileNotFoundError(f'there is no config {quoted(path.absolute())}')
    return path
