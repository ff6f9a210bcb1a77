"""Reports of how much of a long computation is done, to whoever started it."""
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Callable, Iterator, Optional

Report = Callable[[str, int, int], None]

_RECEIVER: ContextVar[Optional[Report]] = ContextVar('ovseg_progress', default=None)  # each thread has its own


@contextmanager
def reported_to(receiver: Report) -> Iterator[None]:
    """Call ``receiver(unit, done, total)`` for each ``report`` of this thread. An error that it raises ends the computation."""
    token = _RECEIVER.set(receiver)
    try:
        yield
    finally:
        _RECEIVER.reset(token)


def report(unit: str, done: int, total: int) -> None:
    """Report that ``done`` of ``total`` units are processed. On a GPU they may only be queued: nothing waits for it."""
    receiver = _RECEIVER.get()
    if receiver is not None:
        receiver(unit, done, total)
