"""Answers of the page to its controls."""
import functools
import html
import logging
import re
import threading
import time
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import gradio as gr
import numpy as np
from gradio.utils import get_upload_folder
from matplotlib.figure import Figure
from mmengine.logging import MMLogger

from ovseg.apis.painting import write_label_map
from ovseg.progress import reported_to
from ovseg.web.drawing import Drawing, Segmented, legend, write_classes, write_overlay
from ovseg.web.running import CancelledError, stopped
from ovseg.web.segment import TypedClasses, attention_at, config_text, segment
from ovseg.web.settings import Models, Setting
from ovseg.web.uploads import Upload, read_upload, small

KEPT_CANCELS = 1000  # browser tabs whose last use of Cancel is known
FOLDERS = re.compile(r'(?<![\w.<])/(?:[^/\s\'":,]+/)+')  # of an absolute path
STAGES = dict(windows='Segmenting', prompts='Encoding class names')  # by unit of a report


def public(message: str) -> str:
    """HTML of a message for the page: file names without their folders, characters that cannot be seen as escapes."""
    message = FOLDERS.sub('', message)
    return html.escape(''.join(letter if letter.isprintable() else letter.encode('unicode_escape').decode()
                               for letter in message))


def _guarded(answer: Callable[..., Any]) -> Callable[..., Any]:
    """Show progress, the message of an error, and warnings of the log on the page. What was cancelled changes nothing."""
    @functools.wraps(answer)
    def guarded(self: 'Answers', request: gr.Request, *args: Any) -> Any:
        arrived = request.request.scope['arrived']
        try:
            if self.is_cancelled(request):
                raise CancelledError
            if time.monotonic() - arrived > self.max_seconds:
                raise ValueError(f'the request has waited for more than {self.max_seconds} seconds: try again later')
            with _noted_warnings() as warnings, reported_to(_show_progress), \
                    stopped(self.max_seconds, lambda: self.is_cancelled(request)):
                result = answer(self, request, *args)
        except CancelledError:
            gr.Info('Stopped.', duration=5)
            return gr.skip()
        except (FloatingPointError, MemoryError, OSError, ValueError) as error:
            raise gr.Error(public(str(error)), duration=None, print_exception=False) from error
        for warning in warnings:
            gr.Warning(public(warning))
        return result
    return guarded


class Answers:
    """Answers of the page to its controls. Values come in the order of the inputs."""

    def __init__(self, models: Models, max_seconds: int) -> None:
        self._models = models
        self.max_seconds = max_seconds
        self._cancelled: Dict[Optional[str], float] = {}  # when each session last pressed Cancel

    async def cancel(self, request: gr.Request) -> None:
        """Stop what the same browser tab has asked for before, be it computing or waiting."""
        self._cancelled.pop(request.session_hash, None)
        self._cancelled[request.session_hash] = time.monotonic()
        if len(self._cancelled) > KEPT_CANCELS:
            del self._cancelled[next(iter(self._cancelled))]

    def is_cancelled(self, request: gr.Request) -> bool:
        """True if Cancel was pressed after the request has arrived."""
        return self._cancelled.get(request.session_hash, -1.0) > request.request.scope['arrived']

    @_guarded
    def show(self, request: gr.Request, path: Optional[str]) -> Tuple[Optional[np.ndarray], None]:
        """The image to click, and no attention yet."""
        return None if path is None else small(self._read(path).image)[..., ::-1], None

    @_guarded
    def segment(self, request: gr.Request, path: Optional[str], classes: str, background: str, threshold: float,
                opacity: float, *setting: Any) -> List[Any]:
        """The result, its legend, its config, the tab that shows it; what ``redraw`` needs; names to show or hide; files of
        label map, classes and overlay; the group that holds all these.
        """
        upload, typed = self._read(path), TypedClasses.parse(classes, background, threshold)
        inferencer = self._models.get(Setting(*setting))
        result = segment(inferencer, upload.image, typed)
        names, painted = list(result.areas), result.painted(opacity)
        folder, stem = _new_folder(), Path(str(path)).stem
        files = [folder / f'{stem}_{ending}' for ending in ('labels.png', 'classes.json', 'overlay.png')]
        write_label_map(result.labels, list(result.colours.values()), files[0])
        write_classes(result, upload, files[1])
        write_overlay(result, painted, names, files[2])
        return [painted, legend({'area': result}, upload.note), config_text(inferencer, typed), gr.Tabs(selected='result'),
                Drawing(result.for_the_page(), folder, stem), gr.CheckboxGroup(names, value=names), *map(str, files),
                gr.Column(visible=True)]

    @_guarded
    def redraw(self, request: gr.Request, drawing: Optional[Drawing], opacity: float, shown: List[str]) -> Tuple[str, str]:
        """Files of the last result with another opacity or other classes, without and with a legend; the model is not run."""
        if drawing is None:  # of a tab that was left alone for long
            raise ValueError('the result is not on the server any more: press Segment again')
        return drawing.redrawn(opacity, shown)

    @_guarded
    def compare(self, request: gr.Request, path: Optional[str], classes: str, background: str, threshold: float,
                opacity: float, *settings: Any) -> Tuple[Tuple[np.ndarray, np.ndarray], str, str, gr.Tabs]:
        """Two results, their legend, the config of setting A, and the tab that shows them."""
        upload, typed = self._read(path), TypedClasses.parse(classes, background, threshold)
        half = len(Setting._fields)
        results: Dict[str, Segmented] = {}
        for title, setting in (('B', settings[half:]), ('A', settings[:half])):
            inferencer = self._models.get(Setting(*setting))
            results[title] = segment(inferencer, upload.image, typed)
        results = {title: results[title] for title in 'AB'}
        return ((results['A'].painted(opacity), results['B'].painted(opacity)), legend(results, upload.note),
                config_text(inferencer, typed), gr.Tabs(selected='compare'))

    @_guarded
    def attention(self, request: gr.Request, event: gr.SelectData, path: Optional[str], *setting: Any) -> Figure:
        """The figure of the patch that was clicked."""
        image = self._read(path).image
        shown, (x, y) = small(image), event.index
        if not (x < shown.shape[1] and y < shown.shape[0]):
            raise ValueError(f'there is no pixel ({x}, {y}) in the image')
        place = ((y + 0.5) / shown.shape[0], (x + 0.5) / shown.shape[1])
        return attention_at(self._models.get(Setting(*setting)), image, place)

    def _read(self, path: Optional[str]) -> Upload:
        return read_upload(path, self._models.max_pixels)


def _show_progress(unit: str, done: int, total: int) -> None:
    gr.Progress()((done, total), desc=STAGES[unit], unit=unit)


def _new_folder() -> Path:
    """A folder beside those of uploads, whose name cannot be guessed."""
    folder = Path(get_upload_folder()) / uuid.uuid4().hex
    folder.mkdir(parents=True)
    return folder


@contextmanager
def _noted_warnings() -> Iterator[List[str]]:
    """The warnings that ovseg logs meanwhile, for instance of class names that CLIP cuts."""
    messages: List[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    thread = threading.get_ident()
    handler.addFilter(lambda record: record.thread == thread)
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    try:
        yield messages
    finally:
        logger.removeHandler(handler)
