"""Checkpoints that can be read without executing anything."""
from typing import Any, Dict

import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS


@HOOKS.register_module()
class PlainCheckpointHook(Hook):
    """Leaves mmengine's history of logged scalars out of checkpoints, and turns NumPy's numbers into Python's.

    The history's pickle calls ``getattr``, so that ``load_from_file`` refuses to read a checkpoint with it, as ``torch.load``
    does from torch 2.6 on. The history is in the log files too.
    """

    def before_save_checkpoint(self, runner: Runner, checkpoint: Dict[str, Any]) -> None:
        """See ``Hook``."""
        hub = checkpoint['message_hub']
        hub['log_scalars'] = {}
        hub['runtime_info'] = {key: value.item() if isinstance(value, np.generic) else value
                               for key, value in hub['runtime_info'].items()}
