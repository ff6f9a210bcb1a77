"""The progress line of the inferencer."""
from contextlib import AbstractContextManager
from typing import Any, Iterable, Iterator, List, Optional, TypeVar

from rich.console import Console
from rich.progress import Progress

T = TypeVar('T')

FEW = 3  # images that need no progress line


class ProgressLine(AbstractContextManager):
    """A line on the standard error with the share of the images, and the tile of a raster; only on a terminal.

    Args:
        total: Number of images, None where it is not known.
        wanted: Show it.
    """

    def __init__(self, total: Optional[int], wanted: bool) -> None:
        console = Console(stderr=True)
        self._total = total
        self._progress = Progress(*Progress.get_default_columns(), console=console,
                                  disable=not (wanted and console.is_terminal))
        self._task = self._progress.add_task('Segmenting', total=total)

    def images(self, sources: Iterable[T]) -> Iterator[T]:
        """The sources; the line is shown at once where there are more than ``FEW``."""
        if self._total is None or self._total > FEW:
            self._progress.start()
        for source in sources:
            yield source
            self._progress.advance(self._task)

    def tiles(self, name: str, tiles: List[T]) -> Iterator[T]:
        """The tiles of the raster ``name``, whose number the line shows."""
        self._progress.start()
        for number, tile in enumerate(tiles, 1):
            self._progress.update(self._task, description=f'Segmenting (tile {number} of {len(tiles)} of {name})', refresh=True)
            yield tile
        self._progress.update(self._task, description='Segmenting')

    def __exit__(self, *_: Any) -> None:
        self._progress.stop()
