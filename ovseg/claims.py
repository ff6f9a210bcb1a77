"""Folders that one process at a time writes into."""
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from ovseg.files import PART_PATTERN

LOCK = '.lock'


def claim(folder: Path) -> BaseFileLock:
    """Lock ``folder`` for this process, and remove the temporary files that a killed process has left in it.

    Args:
        folder: Made if it does not exist.

    Returns:
        The lock, a context manager. It is released by ``release()`` or by the end of the process, however that ends.

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
    for part in folder.rglob(PART_PATTERN):
        part.unlink()
    return lock
