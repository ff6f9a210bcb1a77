"""Float32 products that are computed in float32, whatever autocast and the settings for TF32 say."""
import threading
from contextlib import contextmanager, nullcontext
from typing import Any, Callable, ContextManager, Iterator, List

import torch
from torch import Tensor

PRECISIONS = dict(fp32=torch.float32, fp16=torch.float16, bf16=torch.bfloat16)

# Settings of each backend, since torch 2.9; older versions have torch.set_float32_matmul_precision alone. The package is asked,
# because asking torch 2.1's backends.cuda.matmul for an attribute that it does not have is an AssertionError.
MATMULS = [backend.matmul for backend in (torch.backends.cuda, torch.backends.mkldnn)
           if hasattr(torch.backends, 'fp32_precision')]

_lock = threading.Lock()
_restore: List[Callable[[], None]] = []  # one per open context; the first restores the settings, the others do nothing


def without_autocast(tensor: Tensor) -> ContextManager[Any]:
    """A context in which autocast, where it is on, leaves float32 products on the device of ``tensor`` alone."""
    device = tensor.device.type
    can_tell = hasattr(torch.amp, 'is_autocast_available')  # older versions have none for other devices (MPS before 2.5)
    if device in ('cpu', 'cuda') or (can_tell and torch.amp.is_autocast_available(device)):
        return torch.autocast(device, enabled=False)
    return nullcontext()


@contextmanager
def full_precision(tensor: Tensor) -> Iterator[None]:
    """A context in which float32 products on the device of ``tensor`` are exact: no autocast, no TF32, no bfloat16.

    The settings for TF32 belong to the process: other threads compute in float32 too, until the last context is left.
    """
    with _lock:
        _restore.append(_do_nothing if _restore else _switch_to_float32())
    try:
        with without_autocast(tensor):
            yield
    finally:
        with _lock:
            _restore.pop()()


def _switch_to_float32() -> Callable[[], None]:
    """Switch TF32 and bfloat16 inside float32 products off; the result restores the settings."""
    before = [matmul.fp32_precision for matmul in MATMULS]
    if MATMULS and not {'tf32', 'bf16'} & set(before):
        return _do_nothing
    try:
        old_setting = torch.get_float32_matmul_precision()
    except RuntimeError:  # raised where fp32_precision alone was set
        old_setting = None
    else:
        torch.set_float32_matmul_precision('highest')
    for matmul in MATMULS:
        matmul.fp32_precision = 'ieee'

    def restore() -> None:
        if old_setting is not None:
            torch.set_float32_matmul_precision(old_setting)
        for matmul, value in zip(MATMULS, before):
            matmul.fp32_precision = 'none'
            if matmul.fp32_precision != value:  # it is not inherited from torch.backends.fp32_precision
                matmul.fp32_precision = value
    return restore


def _do_nothing() -> None:
    pass
