"""The temporary folder of a server."""
import os
import shutil
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Collection, Iterator

from ovseg.claims import LOCK, claim

PREFIX = 'ovseg-web-'


@contextmanager
def own_folder() -> Iterator[Path]:
    """A temporary folder, removed at the end; those that killed servers have left are removed at the start.

    A server claims its folder. The claim ends with the process, however that ends.
    """
    for left in Path(tempfile.gettempdir()).glob(f'{PREFIX}*'):
        _remove_unclaimed(left)
    with ExitStack() as stack:
        folder = _claimed_folder(stack)
        try:
            yield folder
        finally:
            stack.close()  # first: Windows does not delete a file that is open, as that of the lock is
            shutil.rmtree(folder, ignore_errors=True)


def _claimed_folder(stack: ExitStack) -> Path:
    """A new folder, whose claim ends with ``stack``."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        with suppress(BlockingIOError):  # another server that starts has taken it, not locked yet, for one that was left
            stack.enter_context(claim(folder))
            if (folder / LOCK).exists():
                return folder


def _remove_unclaimed(folder: Path) -> None:
    """Remove a folder whose server has ended, unless it is someone else's, or a link."""
    user = os.getuid() if hasattr(os, 'getuid') else 0  # as st_uid is on Windows, where users have folders of their own
    with suppress(OSError):  # its server is running, or another one removes it
        if folder.lstat().st_uid == user and not folder.is_symlink() and (folder / LOCK).exists():
            with claim(folder):
                shutil.rmtree(folder, ignore_errors=True)  # before another server can claim it
            shutil.rmtree(folder, ignore_errors=True)  # on Windows, what was open


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
