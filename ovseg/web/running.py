"""Stopping a model that is computing."""
import threading
import time
from contextlib import contextmanager
from typing import Any, Callable, Iterator

from torch.nn.modules.module import register_module_forward_pre_hook


class CancelledError(Exception):
    """Someone does not want the result any more."""


@contextmanager
def stopped(seconds: float, cancelled: Callable[[], bool]) -> Iterator[None]:
    """Stop a model of this thread, by an error, that is still computing after so many seconds, or that is cancelled.

    It is stopped where it calls the next of its modules: a thread cannot be ended from outside.

    Raises:
        CancelledError: ``cancelled()`` has become true.
        ValueError: the time is over.
    """
    end, thread = time.monotonic() + seconds, threading.get_ident()

    def check(*args: Any) -> None:
        if threading.get_ident() != thread:  # the hook is called for the modules of all threads
            return
        if cancelled():
            raise CancelledError
        if time.monotonic() > end:
            raise ValueError(f'this takes more than {seconds} seconds: use a smaller image or fewer class names')
    hook = register_module_forward_pre_hook(check)
    try:
        yield
    finally:
        hook.remove()
