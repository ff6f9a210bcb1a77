"""Configs of an ablation's methods: those that are named, and those of a method on the data set of a baseline."""
import difflib
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, Sequence

from mmengine.config import Config

from ovseg.config import read_config
from ovseg.files import write_text
from ovseg.resources import DEFAULT_BENCHMARKS, SUFFIXES, config_file, config_names
from ovseg.sets import FAMILIES, row_of
from ovseg.utils import quoted, shown

BASE = '_base_/methods/'
OTHER_NAMES = {'clip': 'vanilla'}  # of methods, in the names of configs
CONFIG = """\
# {method} on {row}, with the protocol of the data set.
_base_ = [
    __import__('ovseg').config_path('_base_/models/clip_vit-b16.py'),
    __import__('ovseg').config_path('_base_/methods/{method}.py'),
    __import__('ovseg').config_path('_base_/datasets/{row}.py'),
    __import__('ovseg').config_path('_base_/default_runtime.py')]
model = dict(_base_.method, clip=dict({clip}, _delete_=True), vocabulary=_base_.protocol.vocabulary,
             decoder=dict(_base_.method.get('decoder', {{}}), **_base_.protocol.decoder))
"""


def method_configs(methods: Sequence[str], configs: Sequence[str], folder: Path) -> List[str]:
    """The config files of an ablation's methods.

    Args:
        methods: Config files, their names, and names of methods. A method stands for its config on the data set of each of
            ``configs``, with the same CLIP.
        configs: The config files of the baselines.
        folder: Configs that ovseg does not have are written here, so that a command line can name them.

    Raises:
        FileNotFoundError: see ``config_file``.
        ValueError: a name is neither a method nor a config of ovseg; or a method has no config on a data set that has no
            protocol for all methods.
    """
    names, found = method_names(), []
    written: Dict[Path, str] = {}
    for method in methods:
        if method not in names:
            found.append(str(_named_config(method, names)))
            continue
        found += [_config_on(method, config, folder, written) for config in configs]
    for path, text in written.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    return list(dict.fromkeys(found))


def method_names() -> List[str]:
    """The names of the methods, longer ones before those that they begin with."""
    return sorted((Path(name).stem for name in config_names() if name.startswith(BASE)), reverse=True)


def _named_config(name: str, methods: Iterable[str]) -> Path:
    """The config that ``name`` names, which is no method."""
    if Path(name).suffix in SUFFIXES or name in config_names():
        return config_file(name, 'methods')
    near = [*difflib.get_close_matches(name, methods, 3), *difflib.get_close_matches(name, config_names(), 3)]
    raise ValueError(f'methods={shown(name)} is no method and no config of ovseg; '
                     + (f'near: {", ".join(dict.fromkeys(near))}; ' if near else '')
                     + f'the methods are {", ".join(sorted(methods))}; ovseg list configs names all configs, and a path must '
                     'end with .py')


def _config_on(method: str, config: str, folder: Path, written: Dict[Path, str]) -> str:
    """The config of a method on the data set of a baseline: ovseg's own, or one that is added to ``written``."""
    cfg = read_config(config, {}, ['model.clip', 'test_dataloader.dataset'])
    row = row_of(cfg.test_dataloader.dataset)
    if row is None:
        return _config_without_row(method, config, cfg)
    leaf = config_names().get(f'{method}_vit-b16_{row.name}')
    if leaf and Config.fromfile(leaf).model.clip == cfg.model.clip:
        return str(leaf)
    if row in FAMILIES['standard']:
        raise ValueError(f'methods={method}: the class list and the threshold on the data set of {quoted(config)} depend on '
                         'the method, and ovseg has none with this CLIP: name a config instead')
    stem = Path(config).stem
    own = next((f'{name}_' for name in method_names() if stem.startswith(f'{name}_')), '')
    path = folder / f'{method}_{stem[len(own):]}.py'
    text = CONFIG.format(method=method, row=row.name, clip=dict(cfg.model.clip))
    if written.setdefault(path, text) != text:
        raise ValueError(f'methods={method}: {quoted(config)} and another config would both have {quoted(path)}: rename one')
    return str(path)


def _config_without_row(method: str, config: str, cfg: Config) -> str:
    """Config of a method that comes with ovseg and has the CLIP and the data set of a baseline.

    Its name is the one of the baseline with another method in front.
    """
    names = config_names()
    name = OTHER_NAMES.get(method, method)
    words = Path(config).stem.split('_')
    for start in range(1, len(words)):
        leaf = names.get('_'.join([name, *words[start:]]))
        if leaf:
            found = Config.fromfile(leaf)
            if found.model.clip == cfg.model.clip and _data_set(found) == _data_set(cfg):
                return str(leaf)
    benchmarks = tuple(f'_{benchmark}' for benchmark in DEFAULT_BENCHMARKS)
    near = [other for other in names if other.startswith(f'{name}_') and other.endswith(benchmarks)]
    raise ValueError(f'methods={method}: ovseg has no config of {method} with the CLIP and the data set of {quoted(config)}: '
                     f'name a config file instead, with this data set and the model settings of {" or ".join(near)}')


def _data_set(cfg: Config) -> Mapping[str, Any]:
    """The data set of a config without its pipeline, which depends on the method."""
    return {key: value for key, value in cfg.test_dataloader.dataset.items() if key != 'pipeline'}
