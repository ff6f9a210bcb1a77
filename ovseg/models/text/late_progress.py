"""A progress bar for work that is mostly too short for one."""
import time

from mmengine.dist import is_main_process
from mmengine.logging import print_log
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ovseg.progress import report

PATIENCE = 2  # seconds before anything is shown
INTERVAL = 10  # seconds between two lines where there is no terminal


class LateProgress:
    """Shows the progress of work that has taken two seconds: a bar on a terminal, a log line every ten seconds elsewhere.

    Only the main process of a distributed run shows anything. Use it as a context manager.

    Args:
        what: Description of the work.
        total: Number of steps.
    """

    def __init__(self, what: str, total: int) -> None:
        self._shown_at = time.monotonic() + PATIENCE
        self._bar = Progress(TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
                             console=Console(stderr=True))
        self._bar.add_task(what, total=total)
        self._task, = self._bar.tasks

    def __enter__(self) -> 'LateProgress':
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar.live.is_started:
            self._bar.stop()

    def advance(self, steps: int) -> None:
        """Count ``steps`` more as done, and ``report`` it."""
        self._bar.advance(self._task.id, steps)
        report('prompts', round(self._task.completed), round(self._task.total or 0))
        if self._bar.live.is_started or self._task.finished or time.monotonic() < self._shown_at or not is_main_process():
            return
        if self._bar.console.is_terminal:
            self._bar.start()
        else:
            print_log(f'{self._task.description}: {self._task.completed:.0f} of {self._task.total:.0f}', 'current')
            self._shown_at = time.monotonic() + INTERVAL
