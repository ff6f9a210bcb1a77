"""Locks of folders that only one process at a time may write into."""
import os
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Iterator

from filelock import FileLock, Timeout

from ovseg.files import PART_PATTERN
from ovseg.utils import quoted

LOCK = '.lock'


@contextmanager
def claim(folder: Path) -> Iterator[None]:
    """Keep ``folder`` for this process, and remove the temporary files that a killed process has left in it.

    The lock ends with the context or with the process, however that ends.

    Args:
        folder: Made if it does not exist.

    Raises:
        BlockingIOError: another process holds the lock.
        OSError: the folder cannot be made or written into.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise BlockingIOError(f'{quoted(folder)} is in use: another run is writing into it. Wait until it has ended, or '
                              'choose another folder') from error
    try:
        for part in _parts(folder):
            part.unlink(missing_ok=True)  # a process of a killed run may be ending just now
        yield
    finally:
        lock.release()


def _parts(folder: Path) -> Iterator[Path]:
    """The temporary files in ``folder`` and below, without folders that have a lock of their own."""
    for place, folders, names in os.walk(folder):
        if LOCK in names and Path(place) != folder:
            folders.clear()
        else:
            yield from (Path(place, name) for name in names if fnmatch(name, PART_PATTERN))
