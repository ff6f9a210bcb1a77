"""Loading of the config that a user names."""
import copy
from pathlib import Path
from typing import Any, Mapping, Optional, Union

from mmengine.config import Config

from ovseg.config import check_config, merge_options, read_config
from ovseg.resources import config_file
from ovseg.utils import shown

NEEDED = ('model.type', 'test_dataloader.dataset.pipeline')


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
        name: A path, or the name of a config that comes with ovseg, see ``ovseg.resources.config_names``.

    Raises:
        FileNotFoundError: the name ends with ``.py``, and there is no such file.
        ValueError: there is no such config; lists those whose names are near.
    """
    return config_file(name, 'model')
