"""A record of the images that a worker began, which outlives the worker."""
import json
from collections import Counter
from pathlib import Path
from typing import List, Optional

from ovseg.files import write_text

MOST = 3  # times that one image may end its worker
LOADING = '/'  # in place of an image, whose name cannot be that


class Attempts:
    """A record of the images that were being segmented when a worker ended, in a file of the folder of results.

    Ray starts a worker that has ended again and gives it the same task, without end: an image that needs too much memory would
    stop a run for ever. The names of temporary files are those that a later run removes, see ``claim``.

    Args:
        folder: Of the results.
        task: Number of the task.

    Attributes:
        ended: The images that earlier workers were segmenting when they ended, or ``LOADING``.
    """

    def __init__(self, folder: Path, task: int) -> None:
        self._path = folder / f'task.{task:08x}.part'
        self.ended: List[str] = []

    def __enter__(self) -> 'Attempts':
        if self._path.exists():
            self.ended = json.loads(self._path.read_text(encoding='ascii'))
        return self

    def __exit__(self, kind: Optional[type], *_: object) -> None:
        self._path.unlink(missing_ok=True)

    def begin(self, name: str) -> None:
        """Note that an image, or ``LOADING``, is being worked on."""
        write_text(self._path, json.dumps([*self.ended, name]))

    @property
    def given_up(self) -> List[str]:
        """The images (or ``LOADING``) that have ended their workers ``MOST`` times."""
        return [name for name, count in Counter(self.ended).items() if count >= MOST]
