"""The progress of a run over many images."""
import sys
import time
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

SECONDS = 30  # between two lines where standard error is no terminal
PERIOD = 300  # seconds that the rate is measured over


class CollectionProgress(AbstractContextManager):
    """Images that are done, the rate and the remaining time, on standard error: a line that changes on a terminal, else one
    more line every ``SECONDS``.

    Args:
        total: Number of images.
    """

    def __init__(self, total: int) -> None:
        console = Console(stderr=True)
        columns = TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn()
        self._progress = Progress(*columns, console=console, disable=not console.is_terminal, speed_estimate_period=PERIOD)
        self._progress.add_task('Segmenting', total=total)
        self._task, = self._progress.tasks
        self._terminal, self._told = console.is_terminal, time.monotonic()

    def __enter__(self) -> 'CollectionProgress':
        self._progress.start()
        return self

    def advance(self) -> None:
        """Count an image."""
        self._progress.advance(self._task.id)
        if not self._terminal and time.monotonic() - self._told > SECONDS:
            self._told = time.monotonic()
            print(f'ovseg: {progress_line(self._task)}', file=sys.stderr, flush=True)

    def __exit__(self, *_: Any) -> None:
        self._progress.stop()


def progress_line(task: Task) -> str:
    """A line with the images that are done, their rate, and the remaining time where it is known."""
    line = f'{task.completed:.0f} of {task.total:.0f} images'
    if task.speed:
        line += f', {task.speed:.1f} per second'
        if task.time_remaining is not None:
            line += f', {timedelta(seconds=int(task.time_remaining))} left'
    return line


class _Rate(ProgressColumn):
    """Images per second."""

    def render(self, task: Task) -> Text:
        return Text(f'{task.speed:.1f} images/s' if task.speed else '', style='progress.data.speed')
