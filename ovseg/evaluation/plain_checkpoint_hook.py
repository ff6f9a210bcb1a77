"""Checkpoints that load without executing a pickle."""
from typing import Any, Dict

import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS


@HOOKS.register_module()
class PlainCheckpointHook(Hook):
    """Leaves mmengine's history of logged scalars out of checkpoints, and turns NumPy's numbers into Python's.

    The history's pickle needs ``getattr``, which ``torch.load`` refuses from torch 2.6 on, so that a checkpoint with it can be
    neither resumed nor tested. The history is in the log files too.
    """

    def before_save_checkpoint(self, runner: Runner, checkpoint: Dict[str, Any]) -> None:
        """See ``Hook``."""
        hub = checkpoint['message_hub']
        hub['log_scalars'] = {}
        hub['runtime_info'] = {key: value.item() if isinstance(value, np.generic) else value
                               for key, value in hub['runtime_info'].items()}
