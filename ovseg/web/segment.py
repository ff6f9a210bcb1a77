"""The computations of the page, without gradio."""
import copy
import html
import logging
import re
import time
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple, Union

import cv2
import numpy as np
import torch
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.logging import MMLogger
from torch.nn.modules.module import register_module_forward_pre_hook

from ovseg.apis import OVSegInferencer
from ovseg.apis.image_sources import read_image
from ovseg.apis.ovseg_inferencer import WITHOUT_A_MODEL
from ovseg.models import CLIPSegmentor
from ovseg.models.dense import LastBlockEncoder
from ovseg.models.segmentors.components import Components
from ovseg.models.segmentors.switches import DEFAULTS, module_keyword, switch_value
from ovseg.models.towers import tiny_clip
from ovseg.registry import ATTENTIONS
from ovseg.resources import configs_dir
from ovseg.utils import quoted, type_name
from ovseg.visualization.contact_sheet import overlay
from ovseg.visualization.inspection import WindowInspection
from ovseg.visualization.palette import distinct_colours
from ovseg.visualization.patch_figures import attention_figure
from ovseg.vocabulary import read_class_list

KEPT = 8  # settings whose text embeddings stay in memory
LONGEST_SIDE = 1024  # of an image on the page, in pixels
MOST_NAMES, LONGEST_NAME = 1000, 100  # of one request, synonyms included; the length is in characters
SWITCHES = dict(similarity='apply_similarity_enhancement', self_attn_enhancement='apply_self_attn_enhancement',
                outlier_suppression='apply_outlier_suppression', debias='global_debias_factor', ctd='apply_ctd')
AS_CONFIGURED = 'as configured'
OF_METHOD = list(DEFAULTS)  # the components that a method consists of
OF_DEMO = '_tiny-clip_demo.py'  # how configs of the demo end
LAST_BLOCK = LastBlockEncoder.__name__
FOLDERS = re.compile(r'(?<![\w.<])/(?:[^/\s\'":,]+/)+')  # of an absolute path


class Setting(NamedTuple):
    """Options of a model that the page can change: the switches of ``SWITCHES``, and two more.

    Args:
        method: A name in ``ATTENTIONS``, to which the switches are added; ``AS_CONFIGURED``; or one of ``offered_methods``.
        top_k: Outliers per window; counts only with ``outlier_suppression``.
    """
    method: str
    similarity: bool
    self_attn_enhancement: bool
    outlier_suppression: bool
    top_k: int
    debias: float
    ctd: bool

    @classmethod
    def of(cls, model: Mapping[str, Any]) -> 'Setting':
        """The setting of the config of a ``CLIPSegmentor``."""
        return cls(method=_attention(model) or AS_CONFIGURED, top_k=module_keyword(model, 'OutlierSuppression', 'top_k'),
                   **{field: switch_value(model, switch) for field, switch in SWITCHES.items()})

    def options(self, model: Mapping[str, Any], methods: Mapping[str, Mapping[str, Any]]) -> Dict[str, Any]:
        """``cfg_options`` that give the config of a ``CLIPSegmentor`` this setting.

        Args:
            model: The config.
            methods: The components of methods by name.
        """
        if self.method == AS_CONFIGURED:
            return {}
        if self.method in methods:
            return _replaced(model, methods[self.method])
        encoder = {'model.image_encoder': dict(_delete_=True)} if _attention(model) is None else {}
        options: Dict[str, Any] = {switch: getattr(self, field) for field, switch in SWITCHES.items()}
        if self.outlier_suppression:
            options['outlier_suppression_cfg'] = dict(top_k=self.top_k)
        if self.method != _attention(model):  # else it keeps its keywords
            options['model_type'] = self.method
        return {**encoder, **{f'model.{key}': value for key, value in options.items()}}


class Models:
    """Inferencers by setting, all of the same CLIP; the last few stay in memory. Arguments as of ``OVSegInferencer``.

    Attributes:
        cfg: The config, before any setting.
        methods: See ``offered_methods``.
        get: The inferencer of a ``Setting``.
    """

    def __init__(self, model: Union[str, Path, None] = None, weights: Optional[str] = None,
                 device: Union[str, torch.device, None] = None, max_pixels: int = 20_000_000) -> None:
        configured = OVSegInferencer(WITHOUT_A_MODEL if model is None else model, weights, device, max_pixels=max_pixels)
        self.cfg, self.max_pixels = configured.cfg, max_pixels
        self.methods = offered_methods(configured)
        self.get: Callable[[Setting], OVSegInferencer] = lru_cache(maxsize=KEPT)(
            lambda setting: configured.variant(setting.options(self.cfg.model, self.methods)))


def offered_methods(inferencer: OVSegInferencer) -> Dict[str, Dict[str, Any]]:
    """The components of each method of ovseg that fits the CLIP of an inferencer, by name, as far as can be known without
    reading weights of other networks: with the tiny CLIP the methods of the demo, else those of ``_base_/methods``.
    """
    clip, root = inferencer.cfg.model.clip, configs_dir()
    if clip.name == tiny_clip.MODEL_NAME:
        found = {path.name[:-len(OF_DEMO)]: Config.fromfile(path).model for path in (root / 'demo').glob(f'*{OF_DEMO}')}
    else:
        found = {path.stem: Config.fromfile(path).method for path in (root / '_base_' / 'methods').glob('*.py')}
    methods = {f'{name} (method)': {key: value for key, value in found[name].to_dict().items() if key in OF_METHOD}
               for name in sorted(found)}
    return {name: method for name, method in methods.items() if _fits(method, inferencer.model)}


def _fits(method: Mapping[str, Any], segmentor: CLIPSegmentor) -> bool:
    """True if a segmentor of the same CLIP can have the components of a method; a network's weights may still be missing."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)  # modules log that they are on, and here none is
    try:
        Components.build({**DEFAULTS, **method, 'vocabulary': segmentor.vocabulary}).check(segmentor.tower)
    except (FileNotFoundError, ImportError, ValueError):  # of region maps or a package, and of settings that do not fit
        return False
    finally:
        logger.setLevel(level)
    return True


def _replaced(model: Mapping[str, Any], method: Mapping[str, Any]) -> Dict[str, Any]:
    """``cfg_options`` that give a model the components of a method in place of its own."""
    wanted = {key: copy.deepcopy(method.get(key, DEFAULTS[key])) for key in OF_METHOD}
    return {f'model.{key}': dict(value, _delete_=True) if isinstance(value, dict) and isinstance(model.get(key), dict)
            else value for key, value in wanted.items()}


class TypedClasses(NamedTuple):
    """The classes and the threshold of a request.

    Args:
        classes: One string per class, synonyms separated by semicolons.
        background: Names for all the rest, or None.
        threshold: Of the probability, under which a pixel becomes background.
    """
    classes: List[str]
    background: Optional[str]
    threshold: float

    @classmethod
    def parse(cls, classes: str, background: str, threshold: float) -> 'TypedClasses':
        """Parse the class names typed on the page: classes separated by commas or line ends.

        Raises:
            ValueError: no name, too many, or one that is too long or has characters that cannot be seen.
        """
        names = [name.strip() for name in re.split('[,\n]', classes) if name.strip()]
        if not names:
            raise ValueError('there are no class names: type what to look for, for instance: cat, sofa; couch, grass')
        _check_names(re.split('[,;\n]', f'{classes},{background}'))
        return cls(names, background.strip() or None, threshold)


class Segmented(NamedTuple):
    """Result for one image with one setting.

    Args:
        painted: ``(h, w, 3)`` uint8 RGB, the image with its classes on it, made small enough for the page.
        areas: The share of the image that each class covers, largest first.
        colours: RGB of each class, 0 to 255.
        seconds: Time of the segmentation, without that of building the model.
    """
    painted: np.ndarray
    areas: Dict[str, float]
    colours: Dict[str, List[int]]
    seconds: float


def read_upload(path: Optional[str], max_pixels: int) -> np.ndarray:
    """Read an uploaded image as ``(H, W, 3)`` uint8 BGR. Errors name the file without its folder.

    Raises:
        ValueError: none was chosen, it is no image, a broken or too large one, or no longer there.
    """
    if path is None:
        raise ValueError('there is no image: drop one, or pick an example')
    try:
        return read_image(Path(path), max_pixels)  # a string could be a URL
    except FileNotFoundError as error:  # old uploads are deleted
        raise ValueError(f'{quoted(Path(path).name)} is not on the server any more: drop it again') from error
    except ValueError as error:
        raise ValueError(str(error).replace(quoted(path), quoted(Path(path).name))) from error


def public(message: str) -> str:
    """HTML of a message for the page: file names without their folders, characters that cannot be seen as escapes."""
    message = FOLDERS.sub('', message)
    return html.escape(''.join(letter if letter.isprintable() else letter.encode('unicode_escape').decode()
                               for letter in message))


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Stop a model, by an error, that is still computing after so many seconds.

    It is stopped where it calls the next of its modules: a thread cannot be ended from outside.

    Raises:
        ValueError: the time is over.
    """
    end = time.monotonic() + seconds

    def check(*args: Any) -> None:
        if time.monotonic() > end:
            raise ValueError(f'this takes more than {seconds} seconds: use a smaller image or fewer class names')
    hook = register_module_forward_pre_hook(check)
    try:
        yield
    finally:
        hook.remove()


def small(pixels: np.ndarray, interpolation: int = cv2.INTER_AREA) -> np.ndarray:
    """``pixels (H, W, ...)`` in a size for the page."""
    scale = LONGEST_SIDE / max(pixels.shape[:2])
    if scale >= 1:
        return pixels
    height, width = (max(1, round(size * scale)) for size in pixels.shape[:2])
    return cv2.resize(pixels, (width, height), interpolation=interpolation)


def segment(inferencer: OVSegInferencer, image: np.ndarray, typed: TypedClasses) -> Segmented:
    """Segment ``image (H, W, 3)`` uint8 BGR.

    Raises:
        ValueError: a repeated name, a threshold without background, or an image that the model's pipeline cannot take.
    """
    names = inferencer.request(*typed).names
    start = time.perf_counter()
    found = inferencer(image, typed.classes, background=typed.background, threshold=typed.threshold)
    seconds = time.perf_counter() - start
    colours = distinct_colours(len(names))
    palette = colours if typed.background is None else [[0, 0, 0], *colours[:-1]]
    labels = small(found['predictions'][0], cv2.INTER_NEAREST)
    return Segmented(overlay(small(image)[..., ::-1], labels, palette), found['areas'][0], dict(zip(names, palette)), seconds)


def legend(columns: Mapping[str, Segmented]) -> str:
    """HTML table: a row for each class that occurs, with colour and area in each of ``columns``, and a row of times."""
    colours = {name: colour for column in columns.values() for name, colour in column.colours.items()}
    present = dict.fromkeys(name for column in columns.values() for name in column.areas)
    rows = [f'<tr><td><span class="swatch" style="background:rgb{tuple(colours[name])}"></span>{html.escape(name)}</td>'
            + ''.join(f'<td>{_percent(column.areas.get(name, 0))}</td>' for column in columns.values()) + '</tr>'
            for name in present]
    head = ''.join(f'<th>{html.escape(title)}</th>' for title in ('class', *columns))
    times = ''.join(f'<td>{column.seconds:.2f} s</td>' for column in columns.values())
    return (f'<table class="legend"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody>'
            f'<tfoot><tr><td>time taken</td>{times}</tr></tfoot></table>')


def config_text(inferencer: OVSegInferencer, typed: TypedClasses) -> str:
    """The model and its class names, as they go into a config for ``tools/test.py`` in place of its own ``model``."""
    model = copy.deepcopy(inferencer.cfg.model)
    request = inferencer.request(*typed)
    model.vocabulary.names = request.vocabulary.names
    decoder = {**model.get('decoder', {}), **{key: getattr(request.decoder, key) for key in ('prob_thd', 'area_thd', 'bg_idx')}}
    model.decoder = {key: value for key, value in decoder.items() if value is not None}
    return Config(dict(model=model)).pretty_text


def attention_at(inferencer: OVSegInferencer, image: np.ndarray, place: Tuple[float, float]) -> Figure:
    """Figure of the attention of one patch in the last block, as in unmodified CLIP and as configured.

    Args:
        inferencer: The model and its pipeline.
        image: ``(H, W, 3)`` uint8 BGR.
        place: Shares of its height and width, in [0, 1).
    """
    shape = image.shape[:2]
    point = (int(place[0] * shape[0]), int(place[1] * shape[1]))
    inputs = inferencer.prepare('the image', image)['inputs']
    inspection = WindowInspection(inferencer.model, inputs, [point], shape)
    return attention_figure(inspection.image, inspection.attention(['Vanilla']), inspection.patches)


def own_class_names(model: Mapping[str, Any], most: int = 20) -> str:
    """The class names of the config of a ``CLIPSegmentor``, as they would be typed; empty where they are too many to show."""
    classes = read_class_list(model['vocabulary']['names'])
    return ', '.join('; '.join(synonyms) for synonyms in classes) if len(classes) <= most else ''


def _check_names(names: List[str]) -> None:
    if len(names) > MOST_NAMES:
        raise ValueError(f'{len(names)} class names are too many: a request may have {MOST_NAMES}, synonyms included')
    for name in map(str.strip, names):
        if len(name) > LONGEST_NAME:
            raise ValueError(f'{name[:20]!r}... has {len(name)} characters: a class name may have {LONGEST_NAME}')
        if not name.isprintable():
            raise ValueError(f'{name!r} has characters that cannot be seen: delete them')


def _attention(model: Mapping[str, Any]) -> Optional[str]:
    """The attention of the config of a ``CLIPSegmentor``, written as in ``ATTENTIONS``, where it is known; None for a method
    without one.
    """
    encoder = model.get('image_encoder', {})
    if type_name(encoder.get('type', LAST_BLOCK) if isinstance(encoder, Mapping) else encoder) != LAST_BLOCK:
        return None
    given = switch_value(model, 'model_type') or 'Gated'
    return next((name for name in ATTENTIONS.module_dict if name.casefold() == given.casefold()), given)


def _percent(share: float) -> str:
    return f'{share:.1%}' if share >= 0.001 or not share else '< 0.1%'
