"""Progress of a test, with its mIoU so far."""
import atexit
import logging
import sys
import time
from typing import Any, Dict, Optional, Sequence

import torch
from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.evaluation import IoUMetric
from mmseg.registry import HOOKS
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from ovseg.evaluation.areas import class_iou

SECONDS = 1.0  # between two scores, each of which waits for the device


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f'{speed:.3g} images/s' if speed else '')


@HOOKS.register_module()
class ProgressHook(Hook):
    """Shows a test on a terminal as a bar with rate, time left and mIoU so far, and hands its metrics to the visualizer.

    While the bar is there, what the logger says on the terminal is warnings, above the bar; ``LoggerHook``'s lines go to the
    log file alone. Without a terminal there is no bar, and the lines come as ever. In a distributed run the bar shows the share
    of the main process. The mIoU is that of the first ``IoUMetric``, over the classes met so far.

    The metrics go to the visualizer because mmengine's ``LoggerHook`` brings only those of a validation there: without this, no
    score of a test reaches TensorBoard or Weights & Biases.

    Args:
        console: Where to show it; by default the standard output.
    """

    priority = 'LOW'  # behind LoggerHook, whose last line the bar replaces too

    def __init__(self, console: Optional[Console] = None) -> None:
        self.console = console or Console()
        self._next_score = 0.0

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Sequence[Any] = ()) -> None:
        """See ``Hook``."""
        if not (self.console.is_interactive and is_main_process()):
            return
        if batch_idx == 0:  # not before: the first batch waits for the text embeddings, which have a bar of their own
            self._start(runner)
        last = batch_idx + 1 == len(runner.test_dataloader)
        if last or time.monotonic() >= self._next_score:
            self._bar.update(self._bar.task_ids[0], score=self._running_score(runner))
            self._next_score = time.monotonic() + SECONDS
        self._bar.update(self._bar.task_ids[0], advance=len(outputs))
        if last:
            self._stop()

    def after_test_epoch(self, runner: Runner, metrics: Optional[Dict[str, float]] = None) -> None:
        """See ``Hook``."""
        runner.visualizer.add_scalars(metrics)

    def _start(self, runner: Runner) -> None:
        self._areas, self._counted, self._next_score = torch.zeros(2, 1, dtype=torch.int64), 0, time.monotonic()
        processes = get_world_size()
        self._bar = Progress(TextColumn('{task.description}'), BarColumn(None), MofNCompleteColumn(), _RateColumn(),
                             TimeRemainingColumn(elapsed_when_finished=True), TextColumn('{task.fields[score]}'),
                             console=self.console, expand=True)
        self._bar.add_task('test' if processes == 1 else f'test (process 1 of {processes})',
                           total=len(runner.test_dataloader.sampler), score='')
        self._bar.start()
        atexit.register(self._stop)  # an error ends the test without another call, and would leave the cursor hidden
        self._handlers = [(handler, handler.level, handler.stream) for handler in runner.logger.handlers
                          if type(handler) is logging.StreamHandler]
        for handler, _, _ in self._handlers:
            handler.setLevel(max(handler.level, logging.WARNING))
            handler.setStream(sys.stdout)  # which the bar has replaced

    def _stop(self) -> None:
        self._bar.stop()
        atexit.unregister(self._stop)
        for handler, level, stream in self._handlers:
            handler.setLevel(level)
            handler.setStream(stream)

    def _running_score(self, runner: Runner) -> str:
        metric = next((metric for metric in runner.test_loop.evaluator.metrics if isinstance(metric, IoUMetric)), None)
        if metric is None or not metric.results:
            return ''
        for intersection, union, *_ in metric.results[self._counted:]:
            self._areas = torch.stack([intersection, union]).add_(self._areas.to(union.device))  # (2, K)
        self._counted = len(metric.results)
        return f'mIoU {torch.from_numpy(class_iou(*self._areas.cpu().numpy())).nanmean():.2f}'
