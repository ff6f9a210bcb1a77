"""Reading configs."""
import inspect
from pathlib import Path
from typing import Any, Mapping, Union

from mmengine.config import Config
from mmengine.runner import Runner

from ovseg.utils import check_keys

LOOKED_UP_BY_RUNNER = {'activation_checkpointing', 'compile', 'efficient_conv_bn_eval', 'find_unused_parameters',
                       'model_wrapper_cfg', 'sync_bn'}  # in the config, without being an argument of its
READ_BY_RUNNER = {*inspect.signature(Runner).parameters, *LOOKED_UP_BY_RUNNER}


def read_config(path: Union[str, Path], options: Mapping[str, Any]) -> Config:
    """The config file ``path`` with ``options`` merged in.

    Args:
        path: A config file of mmengine.
        options: Settings by dotted key, as ``--cfg-options`` gives them: ``{'model.logit_scale': 50}``.

    Raises:
        ValueError: the first part of a key stands neither in the config nor among what a Runner reads; ``merge_from_dict``
            would take it in without a word.
    """
    cfg = Config.fromfile(path)
    check_keys(str(path), {key.split('.')[0]: value for key, value in options.items()}, {*cfg, *READ_BY_RUNNER})
    cfg.merge_from_dict(dict(options))
    return cfg
