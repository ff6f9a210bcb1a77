"""The page, made of gradio components, and its server."""
from pathlib import Path
from typing import Any, Callable, Collection, Dict, Iterable, List, NamedTuple, Tuple

import gradio as gr
import uvicorn
from fastapi import FastAPI
from gradio.utils import get_upload_folder

from ovseg.registry import ATTENTIONS
from ovseg.web.answers import Answers
from ovseg.web.drawing import OPACITY
from ovseg.web.examples import demo_scenes, photographs
from ovseg.web.guard import Guard
from ovseg.web.segment import own_class_names
from ovseg.web.settings import AS_CONFIGURED, Models, Setting
from ovseg.web.style import CLOSE_NOTICES, CSS, FONTS, SHOW_PROGRESS, SHOW_RESULTS

PLAIN = Setting('Vanilla', False, False, False, 30, 0.0, False)  # initial setting B: unmodified CLIP
OF_PHOTOGRAPHS = 'The photographs are in the public domain and come with scikit-image'
QUEUE = 20  # requests that may wait
SESSIONS = 50  # browser tabs whose values gradio keeps
CONNECTIONS = 200  # at a time; an open page has up to three

# One request at a time goes through a model, whoever asks; none is an interface for programs.
ONE_AT_A_TIME: Dict[str, Any] = dict(concurrency_id='model', concurrency_limit=1, api_visibility='private')
WITHOUT_MODEL: Dict[str, Any] = dict(concurrency_id='drawing', concurrency_limit=2, api_visibility='private')


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
    """The page. On a wide screen inputs and settings are on the left, results on the right; see ``CSS``."""
    with gr.Blocks(title='ovseg', analytics_enabled=False, fill_width=True, delete_cache=(600, 3600)) as page:
        gr.Markdown(_heading(models.cfg.model))
        with gr.Row(elem_id='columns'):
            inputs, results, settings = _inputs(models.cfg.model), _results(), _settings(models)
        _connect(inputs, results, settings, Answers(models, max_seconds))
    page.state_session_capacity = SESSIONS
    return page.queue(max_size=QUEUE, api_open=False)


def _connect(inputs: '_Inputs', results: '_Results', settings: '_Settings', answers: Answers) -> None:
    """Connect the events of the components with the answers."""
    image, result, slider = inputs.image, results.result, results.slider
    buttons = [inputs.segment.click, inputs.compare.click]
    picked = inputs.examples.click(inputs.load_example, inputs.examples, [image, inputs.classes], queue=False,
                                   api_visibility='private')
    gr.on([*buttons, image.change, results.clicked.select], None, js=CLOSE_NOTICES)
    gr.on([*buttons, inputs.examples.click], None, js=SHOW_PROGRESS)
    image.change(answers.show, image, [results.clicked, results.attention], show_progress_on=[results.clicked],
                 **ONE_AT_A_TIME)
    typed = [inputs.classes, settings.background, settings.threshold, result.opacity]
    shown = [result.painted, result.legend, results.config, results.tabs, result.drawing, result.names, *result.files,
             result.details]
    progress = [result.painted, slider]  # whichever is in the open tab
    for trigger in (inputs.segment.click, picked.success):
        segmented = trigger(answers.segment, [image, *typed, *settings.a], shown, show_progress_on=progress, **ONE_AT_A_TIME)
        segmented.success(None, js=SHOW_RESULTS)
    compared = inputs.compare.click(answers.compare, [image, *typed, *settings.a, *settings.b],
                                    [slider, results.slider_legend, results.config, results.tabs], show_progress_on=progress,
                                    **ONE_AT_A_TIME)
    compared.success(None, js=SHOW_RESULTS)
    gr.on([result.opacity.input, result.names.input], answers.redraw, [result.drawing, result.opacity, result.names],
          [result.painted, result.files[-1]], show_progress='hidden', trigger_mode='always_last', **WITHOUT_MODEL)
    results.clicked.select(answers.attention, [image, *settings.a], results.attention, **ONE_AT_A_TIME)
    inputs.cancel.click(answers.cancel, queue=False, api_visibility='private')


class _Inputs(NamedTuple):
    """The components of the inputs; ``load_example`` returns file and class names of an example."""
    image: gr.Image
    examples: gr.Dataset
    load_example: Callable[[int], Tuple[str, str]]
    classes: gr.Textbox
    segment: gr.Button
    compare: gr.Button
    cancel: gr.Button


def _inputs(cfg: Any) -> _Inputs:
    with gr.Column(elem_id='inputs'):
        image = gr.Image(label='Image', type='filepath', image_mode=None, sources=['upload', 'clipboard'], height=220,
                         elem_id='image')
        # The file, unopened: read_upload has the better messages for a bad one. On the object: of a subclass, gradio
        # would write a stub file beside this one.
        image.preprocess = lambda upload: upload and upload.path
        examples, load_example = _examples(image, _is_tiny(cfg))
        classes = gr.Textbox(own_class_names(cfg), label='Class names', lines=2, max_lines=12, elem_id='classes',
                             placeholder='cat, sofa; couch, grass',
                             info='Separate classes by commas or lines, synonyms of a class by semicolons.')
        with gr.Row():
            segment = gr.Button('Segment', variant='primary', elem_id='segment', min_width=100)
            compare = gr.Button('Compare', elem_id='compare', min_width=100)
            cancel = gr.Button('Cancel', elem_id='cancel', min_width=80)
    return _Inputs(image, examples, load_example, classes, segment, compare, cancel)


class _Settings(NamedTuple):
    """The components of the settings; ``a`` and ``b`` have one for each field of ``Setting``."""
    a: List[gr.components.Component]
    b: List[gr.components.Component]
    background: gr.Textbox
    threshold: gr.Slider


def _settings(models: Models) -> _Settings:
    with gr.Column(elem_id='settings'), gr.Tabs():
        with gr.Tab('Setting A'):
            setting_a = _setting_controls(Setting.of(models.cfg.model), 'a', models.methods)
        with gr.Tab('Setting B'):
            setting_b = _setting_controls(PLAIN, 'b', models.methods)
        with gr.Tab('Background'):
            background = gr.Textbox('', label='Names for all the rest', placeholder='wall, sky', elem_id='background',
                                    info='They become one class, background; auto chooses names.')
            threshold = gr.Slider(0, 1, 0, step=0.01, label='Threshold', elem_id='threshold',
                                  info='Pixels less probable than this become background, too.')
    return _Settings(setting_a, setting_b, background, threshold)


class _Result(NamedTuple):
    """The components of a result; ``details`` holds those that are of use only after the first one."""
    painted: gr.Image
    legend: gr.HTML
    drawing: gr.State
    details: gr.Column
    opacity: gr.Slider
    names: gr.CheckboxGroup
    files: List[gr.DownloadButton]


def _result() -> _Result:
    painted = _shown(label='Classes', elem_id='painted')
    legend = gr.HTML('Choose an image, type class names, press Segment. Or choose an example.', elem_id='legend')
    with gr.Column(visible=False, elem_id='details') as details:
        opacity = gr.Slider(0, 1, OPACITY, step=0.05, label='Opacity of the colours', elem_id='opacity')
        names = gr.CheckboxGroup([], label='Classes shown', elem_id='names')
        with gr.Row():
            files = [gr.DownloadButton(f'↓ {label}', size='sm', min_width=80, elem_id=name) for name, label in (
                ('labels-file', 'Label map'), ('classes-file', 'Classes'), ('overlay-file', 'Overlay'))]
    return _Result(painted, legend, gr.State(), details, opacity, names, files)


class _Results(NamedTuple):
    """The components of the tabs with results."""
    tabs: gr.Tabs
    result: _Result
    slider: gr.ImageSlider
    slider_legend: gr.HTML
    clicked: gr.Image
    attention: gr.Plot
    config: gr.Code


def _results() -> _Results:
    with gr.Column(elem_id='answers'), gr.Tabs(elem_id='results') as tabs:
        with gr.Tab('Result', id='result'):
            result = _result()
        with gr.Tab('Compare', id='compare'):
            slider = gr.ImageSlider(label='Setting A (left) and B (right)', interactive=False, format='png', max_height=600,
                                    buttons=['fullscreen'], elem_id='slider')
            slider_legend = gr.HTML('Press Compare: the results of settings A and B, and a line to move between them.',
                                    elem_id='slider-legend')
        with gr.Tab('Attention', id='attention'):
            clicked = _shown(label='Click a patch to see where it attends with setting A', elem_id='clicked')
            attention = gr.Plot(show_label=False, format='png', elem_id='attention')
        with gr.Tab('Config', id='config'):
            config = gr.Code(label='The model of setting A, for a config of ovseg test', language='python',
                             interactive=False, max_lines=40, elem_id='config')
    return _Results(tabs, result, slider, slider_legend, clicked, attention, config)


def _examples(image: gr.Image, tiny: bool) -> Tuple[gr.Dataset, Callable[[int], Tuple[str, str]]]:
    """The examples, first those that the model knows, and a function that returns file and class names of one."""
    scenes, found = demo_scenes(), photographs()
    samples = [*scenes, *found] if tiny else [*found, *scenes]
    dataset = gr.Dataset(components=[image], samples=[[str(sample.path)] for sample in samples], type='index',
                         label='Examples: press one to segment it', samples_per_page=len(samples), elem_id='examples')
    if found:
        gr.HTML(f'<p class="note">{OF_PHOTOGRAPHS}{"; the tiny CLIP does not know them." if tiny else "."}</p>', padding=False)

    def load_example(index: int) -> Tuple[str, str]:
        return dataset.samples[index][0]['path'], samples[index].classes  # the copy that gradio serves
    return dataset, load_example


def _is_tiny(model: Any) -> bool:
    return bool(model.clip.pretrained == 'embedded')


def _heading(cfg: Any) -> str:
    weights = Path(str(cfg.clip.pretrained)).name  # without the folder of a file, which is the server's business
    text = f'# ovseg\nOpen-vocabulary segmentation without training, by **{cfg.clip.name}** ({weights}).'
    if _is_tiny(cfg):
        text += ' It knows 16 class names and no photographs; `ovseg web --model gated_vit-b16` takes a real CLIP.'
    return text


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
