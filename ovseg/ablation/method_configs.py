"""Configs of an ablation's methods: those that are named, and those of a method on the data set of a baseline."""
from pathlib import Path
from typing import Dict, List, Sequence

from mmengine.config import Config

from ovseg.config import read_config
from ovseg.files import write_text
from ovseg.resources import config_file, config_names
from ovseg.sets import FAMILIES, row_of
from ovseg.utils import quoted

BASE = '_base_/methods/'
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
        ValueError: see ``config_file``; or a method has no config on a data set that has no protocol for all methods.
    """
    names, found = method_names(), []
    written: Dict[Path, str] = {}
    for method in methods:
        if method not in names:
            found.append(str(config_file(method, 'methods')))
            continue
        found += [_config_on(method, config, folder, written) for config in configs]
    for path, text in written.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    return list(dict.fromkeys(found))


def method_names() -> List[str]:
    """The names of the methods, longer ones before those that they begin with."""
    return sorted((Path(name).stem for name in config_names() if name.startswith(BASE)), reverse=True)


def _config_on(method: str, config: str, folder: Path, written: Dict[Path, str]) -> str:
    """The config of a method on the data set of a baseline: ovseg's own, or one that is added to ``written``."""
    cfg = read_config(config, {}, ['model.clip', 'test_dataloader.dataset'])
    row = row_of(cfg.test_dataloader.dataset)
    leaf = config_names().get(f'{method}_vit-b16_{row.name}') if row else None
    if leaf and Config.fromfile(leaf).model.clip == cfg.model.clip:
        return str(leaf)
    if row is None or row in FAMILIES['standard']:
        raise ValueError(f'methods={method}: the class list and the threshold on the data set of {quoted(config)} depend on '
                         'the method, and ovseg has none with this CLIP: name a config instead')
    stem = Path(config).stem
    own = next((f'{name}_' for name in method_names() if stem.startswith(f'{name}_')), '')
    path = folder / f'{method}_{stem[len(own):]}.py'
    text = CONFIG.format(method=method, row=row.name, clip=dict(cfg.model.clip))
    if written.setdefault(path, text) != text:
        raise ValueError(f'methods={method}: {quoted(config)} and another config would both have {quoted(path)}: rename one')
    return str(path)
