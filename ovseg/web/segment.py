"""The computations of the page, without gradio."""
import copy
import re
import time
from typing import Any, List, Mapping, NamedTuple, Optional, Tuple

import numpy as np
from matplotlib.figure import Figure
from mmengine.config import Config

from ovseg.apis import OVSegInferencer
from ovseg.apis.painting import class_colours
from ovseg.visualization.inspection import WindowInspection
from ovseg.visualization.patch_figures import attention_figure
from ovseg.vocabulary import read_class_list
from ovseg.vocabulary.word_record import word_record
from ovseg.web.drawing import Segmented
from ovseg.web.uploads import small

MOST_NAMES, LONGEST_NAME = 1000, 100  # of one request, synonyms included; the length is in characters


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


def segment(inferencer: OVSegInferencer, image: np.ndarray, typed: TypedClasses) -> Segmented:
    """Segment ``image (H, W, 3)`` uint8 BGR.

    Raises:
        ValueError: a repeated name, a threshold without background, or an image that the model's pipeline cannot take.
    """
    names = inferencer.request(*typed).names
    start = time.perf_counter()
    found = inferencer(image, typed.classes, background=typed.background, threshold=typed.threshold)
    seconds = time.perf_counter() - start
    colours = dict(zip(names, class_colours(len(names), typed.background is not None)))
    return Segmented(small(image)[..., ::-1], found['predictions'][0], found['areas'][0], colours, seconds,
                     word_record(inferencer.model.words))


def config_text(inferencer: OVSegInferencer, typed: TypedClasses) -> str:
    """The model and its class names, as they go into a config for ``ovseg test`` in place of its own ``model``."""
    model = copy.deepcopy(inferencer.cfg.model)
    request = inferencer.request(*typed)
    model.vocabulary.names = request.vocabulary.names
    model.vocabulary.background = None if request.vocabulary.background is None else 'auto'
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
