"""The page, made of gradio components, and its server."""
import functools
import logging
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Collection, Dict, Iterable, Iterator, List, Optional, Tuple

import gradio as gr
import numpy as np
import uvicorn
from fastapi import FastAPI
from gradio.utils import get_upload_folder
from matplotlib.figure import Figure
from mmengine.logging import MMLogger

from ovseg.datasets.demo_scenes_dataset import DEMO_SCENES
from ovseg.registry import ATTENTIONS
from ovseg.web.guard import Guard
from ovseg.web.segment import (
    AS_CONFIGURED,
    Models,
    Segmented,
    Setting,
    TypedClasses,
    attention_at,
    config_text,
    deadline,
    legend,
    own_class_names,
    public,
    read_upload,
    segment,
    small,
)

PLAIN = Setting('Vanilla', False, False, False, 30, 0.0, False)  # initial setting B: unmodified CLIP
EXAMPLES = [[str(DEMO_SCENES / 'images' / f'{number:03d}.jpg')] for number in (6, 0, 2, 12, 25)]
QUEUE = 20  # requests that may wait
SESSIONS = 50  # browser tabs whose values gradio keeps
CONNECTIONS = 200  # at a time; an open page has up to three

# The style of legend(). Nothing on the page comes from another server, fonts included.
CSS = """
table.legend {border: none !important; width: 100%; border-collapse: collapse; font-size: 0.95rem}
table.legend :is(td, th) {border: none !important}
table.legend :is(td, th) {padding: 0.25rem 0.6rem; text-align: right}
table.legend :is(td, th):first-child {text-align: left; overflow-wrap: anywhere}
table.legend tr {border: solid var(--border-color-primary) !important; border-width: 0 0 1px !important}
table.legend .swatch {display: inline-block; width: 1rem; height: 1rem; margin-right: 0.6rem; vertical-align: -0.15rem;
                      border: 1px solid var(--body-text-color-subdued)}
"""
FONTS: Dict[str, Any] = dict(font=['system-ui', 'sans-serif'], font_mono=['ui-monospace', 'monospace'])

# One request at a time goes through a model, whoever asks; none is an interface for programs.
ONE_AT_A_TIME: Dict[str, Any] = dict(concurrency_id='model', concurrency_limit=1, api_visibility='private')


def make_server(models: Models, max_upload_mb: int, max_seconds: int = 300, host: str = 'localhost',
                allowed: Collection[str] = ()) -> uvicorn.Server:
    """A server of the page; its ``run(sockets=[...])`` returns after Ctrl-C or ``should_exit``.

    Args:
        models: The models of all settings.
        max_upload_mb: Larger files are refused, in megabytes.
        max_seconds: How long a request may wait for its turn, and then how long it may take.
        host: Address or name on which it listens; see ``Guard``.
        allowed: Further names under which the page can be reached; see ``Guard``.
    """
    page = build_page(models, max_seconds)
    # show_error=False: messages of errors that are not ours, which may name files, stay on the server
    app = gr.mount_gradio_app(FastAPI(openapi_url=None), page, '/', max_file_size=f'{max_upload_mb}mb', show_error=False,
                              footer_links=[], run_history=False, ssr_mode=False, mcp_server=False, pwa=False,
                              enable_monitoring=False, theme=gr.themes.Default(**FONTS), css=CSS)
    guarded = Guard(app, page, Path(get_upload_folder()), max_upload_mb, host, allowed)
    return uvicorn.Server(uvicorn.Config(guarded, log_level='warning', timeout_graceful_shutdown=3, ws='none',
                                         limit_concurrency=CONNECTIONS))


def build_page(models: Models, max_seconds: int) -> gr.Blocks:
    """The page: image, class names and settings on the left, results on the right."""
    cfg = models.cfg.model
    with gr.Blocks(title='ovseg', analytics_enabled=False, fill_width=True, delete_cache=(600, 3600)) as page:
        gr.Markdown(_heading(cfg))
        with gr.Row():
            with gr.Column(scale=2, min_width=340):
                image = gr.Image(label='Image', type='filepath', image_mode=None, sources=['upload', 'clipboard'],
                                 height=200, elem_id='image')
                # The file, unopened: read_upload has the better messages for a bad one. On the object: of a subclass, gradio
                # would write a stub file beside this one.
                image.preprocess = lambda upload: upload and upload.path
                gr.Examples(EXAMPLES, [image], label='Demo scenes', cache_examples=False, elem_id='examples',
                            api_visibility='private')
                classes = gr.Textbox(own_class_names(cfg), label='Class names', lines=2, max_lines=12, elem_id='classes',
                                     placeholder='cat, sofa; couch, grass',
                                     info='Commas or lines separate classes, semicolons synonyms.')
                with gr.Row():
                    segment_button = gr.Button('Segment', variant='primary', elem_id='segment')
                    compare_button = gr.Button('Compare A with B', elem_id='compare')
                with gr.Tabs():
                    with gr.Tab('Setting A'):
                        setting_a = _setting_controls(Setting.of(cfg), 'a', models.methods)
                    with gr.Tab('Setting B'):
                        setting_b = _setting_controls(PLAIN, 'b', models.methods)
                    with gr.Tab('Background'):
                        background = gr.Textbox('', label='Names for all the rest', placeholder='wall, sky',
                                                info='They become one class, background.', elem_id='background')
                        threshold = gr.Slider(0, 1, 0, step=0.01, label='Threshold', elem_id='threshold',
                                              info='Pixels less probable than this become background, too.')
            with gr.Column(scale=3, min_width=480), gr.Tabs(elem_id='results') as tabs:
                with gr.Tab('Result', id='result'):
                    painted = _shown(label='Classes', elem_id='painted')
                    painted_legend = gr.HTML('Choose an image, type class names, press Segment.', elem_id='legend')
                with gr.Tab('Compare', id='compare'):
                    slider = gr.ImageSlider(label='Setting A (left) and B (right)', interactive=False, format='png',
                                            max_height=600, buttons=['fullscreen'], elem_id='slider')
                    slider_legend = gr.HTML('Press Compare A with B, then move the line in the image.',
                                            elem_id='slider-legend')
                with gr.Tab('Attention', id='attention'):
                    clicked = _shown(label='Click a patch to see where it attends with setting A', elem_id='clicked')
                    attention = gr.Plot(show_label=False, format='png', elem_id='attention')
                with gr.Tab('Config', id='config'):
                    config = gr.Code(label='The model of setting A, for a config of tools/test.py', language='python',
                                     interactive=False, max_lines=40, elem_id='config')
        typed = [classes, background, threshold]
        answers = _Answers(models, max_seconds)
        image.change(answers.show, image, [clicked, attention], **ONE_AT_A_TIME)
        segment_button.click(answers.segment, [image, *typed, *setting_a], [painted, painted_legend, config, tabs],
                             **ONE_AT_A_TIME)
        compare_button.click(answers.compare, [image, *typed, *setting_a, *setting_b],
                             [slider, slider_legend, config, tabs], **ONE_AT_A_TIME)
        clicked.select(answers.attention, [image, *setting_a], attention, **ONE_AT_A_TIME)
    page.state_session_capacity = SESSIONS
    return page.queue(max_size=QUEUE, api_open=False)


def _guarded(answer: Callable[..., Any]) -> Callable[..., Any]:
    """Show the message of an error on the page, and warnings of the log."""
    @functools.wraps(answer)
    def guarded(self: '_Answers', request: gr.Request, *args: Any) -> Any:
        try:
            if time.monotonic() - request.request.scope['arrived'] > self.max_seconds:
                raise ValueError(f'the request has waited for more than {self.max_seconds} seconds: try again later')
            with _noted_warnings() as warnings, deadline(self.max_seconds):
                result = answer(self, request, *args)
        except (FloatingPointError, MemoryError, OSError, ValueError) as error:
            raise gr.Error(public(str(error)), duration=None, print_exception=False) from error
        for warning in warnings:
            gr.Warning(public(warning))
        return result
    return guarded


class _Answers:
    """Answers of the page to its controls. Values come in the order of the inputs."""

    def __init__(self, models: Models, max_seconds: int) -> None:
        self._models = models
        self.max_seconds = max_seconds

    @_guarded
    def show(self, request: gr.Request, path: Optional[str]) -> Tuple[Optional[np.ndarray], None]:
        """The image to click, and no attention yet."""
        return None if path is None else small(self._read(path))[..., ::-1], None

    @_guarded
    def segment(self, request: gr.Request, path: Optional[str], classes: str, background: str, threshold: float,
                *setting: Any) -> Tuple[np.ndarray, str, str, gr.Tabs]:
        """The result, its legend, its config, and the tab that shows it."""
        image, typed = self._read(path), TypedClasses.parse(classes, background, threshold)
        inferencer = self._models.get(Setting(*setting))
        result = segment(inferencer, image, typed)
        return result.painted, legend({'area': result}), config_text(inferencer, typed), gr.Tabs(selected='result')

    @_guarded
    def compare(self, request: gr.Request, path: Optional[str], classes: str, background: str, threshold: float,
                *settings: Any) -> Tuple[Tuple[np.ndarray, np.ndarray], str, str, gr.Tabs]:
        """Two results, their legend, the config of setting A, and the tab that shows them."""
        image, typed = self._read(path), TypedClasses.parse(classes, background, threshold)
        half = len(Setting._fields)
        results: Dict[str, Segmented] = {}
        for title, setting in (('B', settings[half:]), ('A', settings[:half])):
            inferencer = self._models.get(Setting(*setting))
            results[title] = segment(inferencer, image, typed)
        results = {title: results[title] for title in 'AB'}
        return ((results['A'].painted, results['B'].painted), legend(results), config_text(inferencer, typed),
                gr.Tabs(selected='compare'))

    @_guarded
    def attention(self, request: gr.Request, event: gr.SelectData, path: Optional[str], *setting: Any) -> Figure:
        """The figure of the patch that was clicked."""
        image = self._read(path)
        shown, (x, y) = small(image), event.index
        if not (x < shown.shape[1] and y < shown.shape[0]):
            raise ValueError(f'there is no pixel ({x}, {y}) in the image')
        place = ((y + 0.5) / shown.shape[0], (x + 0.5) / shown.shape[1])
        return attention_at(self._models.get(Setting(*setting)), image, place)

    def _read(self, path: Optional[str]) -> np.ndarray:
        return read_upload(path, self._models.max_pixels)


def _setting_controls(setting: Setting, letter: str, methods: Iterable[str]) -> List[gr.components.Component]:
    """One control for each field of a ``Setting``, in their order; ``methods`` are names of ``offered_methods``."""
    with gr.Group():
        method = gr.Dropdown([AS_CONFIGURED, *sorted(ATTENTIONS.module_dict), *methods], value=setting.method, label='Method',
                             info='An attention of the last block, with the switches below; or a whole method, without them.',
                             elem_id=f'method-{letter}')
        similarity, enhancement, outliers = (
            gr.Checkbox(value, label=label, elem_id=f'{name}-{letter}', container=True) for name, label, value in (
                ('similarity', 'Similarity map', setting.similarity),
                ('enhancement', 'Self-attention enhancement', setting.self_attn_enhancement),
                ('outliers', 'Outlier suppression', setting.outlier_suppression)))
        top_k = gr.Slider(0, 100, setting.top_k, step=1, label='Outliers per window (top_k)', elem_id=f'top-k-{letter}')
        debias = gr.Slider(0, 1, setting.debias, step=0.05, label='Debias factor (0: off)', elem_id=f'debias-{letter}')
        ctd = gr.Checkbox(setting.ctd, label='CTD', elem_id=f'ctd-{letter}', container=True)
    return [method, similarity, enhancement, outliers, top_k, debias, ctd]


def _shown(**kwargs: Any) -> gr.Image:
    """An image that cannot be edited."""
    return gr.Image(interactive=False, format='png', buttons=['download', 'fullscreen'], **kwargs)


def _heading(cfg: Any) -> str:
    weights = Path(str(cfg.clip.pretrained)).name  # without the folder of a file, which is the server's business
    text = f'# ovseg\nOpen-vocabulary segmentation without training, by **{cfg.clip.name}** ({weights}).'
    if cfg.clip.pretrained == 'embedded':
        text += ' It knows 16 class names and no photographs; `ovseg web --model gated_vit-b16` takes a real CLIP.'
    return text


@contextmanager
def _noted_warnings() -> Iterator[List[str]]:
    """The warnings that ovseg logs meanwhile, for instance of class names that CLIP cuts."""
    messages: List[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    try:
        yield messages
    finally:
        logger.removeHandler(handler)
