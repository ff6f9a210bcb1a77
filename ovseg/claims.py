"""Folders that one process at a time writes into."""
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

from filelock import FileLock, Timeout

from ovseg.files import PART_PATTERN

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
        raise BlockingIOError(f'{folder} is in use: another run is writing into it. Wait until it has ended, or choose another '
                              'folder') from error
    try:
        for part in folder.rglob(PART_PATTERN):
            part.unlink()
        yield
    finally:
        lock.release()
