"""A progress bar for work that is mostly too short for one."""
import time
from types import TracebackType
from typing import Optional, Type

from mmengine.dist import is_main_process
from mmengine.logging import print_log
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

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
        self.what = what
        self.total = total
        self.done = 0
        self._shown_at = time.monotonic() + PATIENCE
        self._bar: Optional[Progress] = None

    def __enter__(self) -> 'LateProgress':
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 traceback: Optional[TracebackType]) -> None:
        if self._bar:
            self._bar.stop()

    def advance(self, steps: int) -> None:
        """Count ``steps`` more as done."""
        self.done += steps
        if self._bar:
            self._bar.update(self._bar.task_ids[0], completed=self.done)
        elif self.done < self.total and time.monotonic() >= self._shown_at and is_main_process():
            self._show()

    def _show(self) -> None:
        console = Console(stderr=True)
        if console.is_terminal:
            self._bar = Progress(TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
                                 console=console)
            self._bar.add_task(self.what, total=self.total, completed=self.done)
            self._bar.start()
        else:
            print_log(f'{self.what}: {self.done} of {self.total}', 'current')
            self._shown_at = time.monotonic() + INTERVAL
