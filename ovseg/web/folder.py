"""The temporary folder of a server."""
import fcntl
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Collection, Iterator

PREFIX = 'ovseg-web-'


@contextmanager
def own_folder() -> Iterator[Path]:
    """A temporary folder, removed at the end; those that killed servers have left are removed at the start.

    A server holds a lock on its folder. The kernel drops it with the process, however that ends.
    """
    for left in Path(tempfile.gettempdir()).glob(f'{PREFIX}*'):
        _remove_unlocked(left)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        descriptor = os.open(folder, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if folder.exists():
            break
        os.close(descriptor)  # another server that starts has taken the folder, not locked yet, for one that was left
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _remove_unlocked(folder: Path) -> None:
    """Remove a folder whose server has ended, unless it is someone else's."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        if os.fstat(descriptor).st_uid == os.getuid():
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError:
        pass  # its server is running
    finally:
        os.close(descriptor)


def remove_oldest(folder: Path, most: int, most_bytes: int, kept: Collection[str] = ()) -> None:
    """Delete sub-folders, those unused for longest first, until few enough are left.

    Args:
        folder: Holds sub-folders of files, one for each upload and each result.
        most: How many may stay.
        most_bytes: How large they may be together.
        kept: Files whose sub-folders stay in any case and do not count.
    """
    spared = {os.path.dirname(path) for path in kept}
    folders = [entry for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False) and entry.path not in spared]
    size = 0
    for count, entry in enumerate(sorted(folders, key=lambda entry: entry.stat().st_mtime, reverse=True), 1):
        size += sum(file.stat(follow_symlinks=False).st_size for file in os.scandir(entry.path))
        if count > most or size > most_bytes:
            shutil.rmtree(entry.path, ignore_errors=True)
