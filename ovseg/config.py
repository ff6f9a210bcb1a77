"""Reading configs."""
import argparse
import inspect
import re
from pathlib import Path
from typing import Any, Mapping, Union

from mmengine.config import Config
from mmengine.config.utils import ConfigParsingError
from mmengine.runner import Runner

from ovseg.utils import check_keys

LOOKED_UP_BY_RUNNER = {'activation_checkpointing', 'compile', 'efficient_conv_bn_eval', 'find_unused_parameters',
                       'model_wrapper_cfg', 'sync_bn'}  # in the config, without being an argument of its
READ = {*inspect.signature(Runner).parameters, *LOOKED_UP_BY_RUNNER, 'custom_imports', 'tta_model', 'tta_pipeline'}


def read_config(path: Union[str, Path], options: Mapping[str, Any]) -> Config:
    """The config file ``path`` with ``options`` merged in.

    Args:
        path: A config file of mmengine.
        options: Settings by dotted key, as ``--cfg-options`` gives them: ``{'model.logit_scale': 50}``.

    Raises:
        ValueError: the file is no config, or an option is refused by ``merge_options``.
    """
    try:
        cfg = Config.fromfile(path)
    except (SyntaxError, ConfigParsingError) as error:
        raise ValueError(f'{path} is no config: {error}') from error
    merge_options(cfg, options, str(path))
    return cfg


def merge_options(cfg: Config, options: Mapping[str, Any], name: str) -> None:
    """Merge settings by dotted key into a config that errors call ``name``.

    Raises:
        ValueError: the first part of a key stands neither in the config nor among what is read of one, or it is a variable
            from which the config has made something else already. ``merge_from_dict`` would take both without a word.
    """
    for key in options:
        first = key.split('.')[0]
        check_keys(name, {first: None}, {*cfg, *READ})
        if first not in READ:
            raise ValueError(f'{key}={options[key]!r} would change nothing: {first} is a variable of {name}, and what is made '
                             'of it stands elsewhere by now; set that, e.g. test_dataloader.dataset.data_root, '
                             'test_dataloader.dataset.pipeline.1.scale or visualizer.vis_backends.0.type')
    cfg.merge_from_dict(dict(options))


def setting(text: str) -> str:
    """``text``, if mmengine's ``DictAction`` reads it as it is meant: the ``type`` of an argument ``--cfg-options``.

    Raises:
        argparse.ArgumentTypeError: no ``KEY=VALUE``, brackets that do not match, or a space that it would drop.
    """
    _, equals, value = text.partition('=')
    if not equals:
        raise argparse.ArgumentTypeError(f'{text!r} is not KEY=VALUE (what has no name stands in front of --cfg-options)')
    if any(value.count(left) != value.count(right) for left, right in ('()', '[]')):
        raise argparse.ArgumentTypeError(f'{text!r}: the brackets do not match')
    if re.search(r'[^\s,(\[] +[^\s,)\]]', value):
        raise argparse.ArgumentTypeError(f'{text!r}: the spaces would be lost; such values have to stand in a config')
    return text
