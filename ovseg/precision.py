"""What autocast must leave alone."""
from contextlib import nullcontext
from typing import Any, ContextManager

import torch
from torch import Tensor


def full_precision(tensor: Tensor) -> ContextManager[Any]:
    """A context in which autocast, where it is on, leaves float32 products on the device of ``tensor`` alone."""
    device = tensor.device.type
    if device not in ('cpu', 'cuda') and not _has_autocast(device):
        return nullcontext()
    return torch.autocast(device, enabled=False)


def _has_autocast(device: str) -> bool:
    """Older versions of torch cannot say, and have none for other devices (MPS before 2.5)."""
    return hasattr(torch.amp, 'is_autocast_available') and torch.amp.is_autocast_available(device)
