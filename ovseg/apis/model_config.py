"""Loading of the config that a user names."""
import copy
import difflib
from pathlib import Path
from typing import Any, Mapping, Optional, Union

from mmengine.config import Config

from ovseg.config import check_config, merge_options, read_config
from ovseg.resources import configs_dir
from ovseg.utils import quoted, shown

NEEDED = ('model.type', 'test_dataloader.dataset.pipeline')
DEFAULT_BENCHMARKS = ('ade20k', 'demo')  # a name without a benchmark stands for the first one that its method has


def load_config(model: Union[str, Path, Mapping[str, Any], Config], weights: Optional[Union[str, Path]],
                options: Mapping[str, Any]) -> Config:
    """A config of its own, with ``weights`` and ``options`` in it.

    Args:
        model: What ``find_config`` finds, or a config as a dict.
        weights: Replaces ``model.clip.pretrained``, if it is given.
        options: Settings by dotted key.

    Raises:
        TypeError: ``model`` is neither, or ``options`` are no dict.
        ValueError: an unknown name or option, or a config without a model or a test pipeline. See
            ``read_config``.
    """
    if not isinstance(options, Mapping):
        raise TypeError(f'cfg_options={shown(options)} must be a dict of settings by dotted key, '
                        "e.g. {'model.apply_ctd': True}")
    if isinstance(model, (str, Path)):
        cfg = read_config(find_config(str(model)), options, NEEDED)
    elif isinstance(model, (Config, Mapping)):
        cfg = copy.deepcopy(model if isinstance(model, Config) else Config(dict(model)))
        merge_options(cfg, options, config_name(cfg))
        check_config(cfg, config_name(cfg), NEEDED)
    else:
        raise TypeError(f'model={shown(model)} must be the name of a config, its path, or a config as a dict')
    if weights is not None:
        merge_options(cfg, {'model.clip.pretrained': str(weights)}, config_name(cfg))
    return cfg


def config_name(cfg: Config) -> str:
    """Name of a config in errors: its file, if it has one."""
    return cfg.filename or 'the config'


def find_config(name: str) -> Path:
    """The config file of a name.

    Args:
        name: A path; a config that comes with ovseg, without its folder and suffix (``'naclip_vit-b16_voc21'``); or only its
            method and CLIP (``'naclip_vit-b16'``), which stand for that method's config on ADE20K, a benchmark of everyday
            scenes without background, or on the demo scenes for the tiny CLIP.

    Raises:
        FileNotFoundError: the name ends with ``.py``, and there is no such file.
        ValueError: there is no such config; lists those whose names are near.
    """
    if Path(name).suffix == '.py':
        if not Path(name).exists():
            raise FileNotFoundError(f'there is no config {quoted(Path(name).absolute())}')
        return Path(name)
    root = configs_dir()
    files = {path.stem: path for path in root.rglob('*.py') if '_base_' not in path.relative_to(root).parts}
    short = {stem[:-len(benchmark) - 1]: path for benchmark in reversed(DEFAULT_BENCHMARKS)
             for stem, path in files.items() if stem.endswith(f'_{benchmark}')}
    files = {**short, **files}
    if name not in files:
        near = difflib.get_close_matches(name, sorted(files, key=len), 5)
        raise ValueError(f'model={shown(name)} is no config of ovseg; ' + (f'near: {", ".join(near)}; ' if near else '')
                         + 'ovseg list configs names all of them, and a path must end with .py')
    return files[name]
