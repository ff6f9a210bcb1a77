"""Checks that a model can be exported, before its weights are read."""
from typing import Iterator, Tuple

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from packaging.version import Version

from ovseg.apis.model_config import config_name
from ovseg.components import named_errors
from ovseg.extras import needed
from ovseg.inference.windows import Windows
from ovseg.models import CLIPSegmentor
from ovseg.models.dense import ResCLIPEncoder
from ovseg.models.segmentors.components import Components
from ovseg.models.segmentors.switches import COMPONENTS, DEFAULTS
from ovseg.models.towers.image_tower import ImageTower
from ovseg.models.towers.loading import describe_tower
from ovseg.models.upsamplers import BilinearUpsampler
from ovseg.utils import quoted, type_name

PACKAGES = ('onnx', 'onnxscript', 'onnxruntime')
OLDEST_TORCH = '2.9'
OPSET = 23
LARGEST_FILE = 2 ** 31  # bytes; protobuf, the format of ONNX files, holds no more


def check_packages() -> None:
    """Refuse an environment without the packages that an export needs.

    Raises:
        MissingPackageError: names the package and the command that installs it.
        ValueError: torch is too old, or onnxruntime does not know the opset.
    """
    if Version(torch.__version__) < Version(OLDEST_TORCH):
        raise ValueError(f'ovseg export needs torch >= {OLDEST_TORCH}, and torch {torch.__version__} is installed')
    onnx, _, onnxruntime = (needed(package, 'export', 'ovseg export') for package in PACKAGES)
    helper = onnx.helper
    values = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in 'xy']
    graph = helper.make_graph([helper.make_node('Identity', ['x'], ['y'])], 'identity', values[:1], values[1:])
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid('', OPSET)])
    try:
        onnxruntime.InferenceSession(model.SerializeToString(), providers=['CPUExecutionProvider'])
    except onnxruntime.capi.onnxruntime_pybind11_state.Fail as error:
        raise ValueError(f'onnxruntime {onnxruntime.__version__} does not know opset {OPSET}: install a newer one') from error


def described(cfg: Config) -> Tuple[Components, ImageTower]:
    """The components of a config's model, and the image tower of its CLIP without weights.

    Raises:
        ValueError: the model is no ``CLIPSegmentor``, or a setting that it refuses.
    """
    name, model = config_name(cfg), cfg.model
    if type_name(model['type']) != CLIPSegmentor.__name__:
        raise ValueError(f'the model of {quoted(name)} is a {type_name(model["type"])}; only a CLIPSegmentor can be exported')
    with DefaultScope.overwrite_default_scope('mmseg'), named_errors(name):
        components = Components.build({'vocabulary': {}, **DEFAULTS, **{key: model[key] for key in COMPONENTS if key in model}})
        return components, describe_tower(model.get('clip', {}).get('name'))


def check_components(components: Components) -> None:
    """Refuse components that cannot be exported.

    Raises:
        ValueError: names them, and what to do.
    """
    found = list(_refused(components))
    if found:
        raise ValueError(f'this model cannot be exported: {"; ".join(found)}')


def _refused(components: Components) -> Iterator[str]:
    encoder, decoder, upsampler = components.image_encoder, components.decoder, components.upsampler
    kind = type(encoder).__name__
    if encoder.regions is not None:
        yield f'image_encoder {kind} needs region maps ({type(encoder.regions).__name__})'
    if encoder.guide is not None:
        yield f'image_encoder {kind} needs a second model ({type(encoder.guide).__name__})'
    if isinstance(encoder, ResCLIPEncoder) and encoder.sfr_weights is not None:
        yield f'the feedback of image_encoder {kind} (image_encoder.sfr_weights=None leaves it out)'
    if encoder.precision != 'fp32':
        yield (f"image_encoder.precision={encoder.precision!r}: files compute in float32 (set it to 'fp32'; --fp16 stores "
               'weights in 16 bits)')
    if getattr(encoder, 'compiled', False):
        yield 'image_encoder.compile=True'
    for module in components.post_processors.of_scores:
        yield f'post-processor {type(module).__name__} works on the scores of all patches of an image'
    if upsampler is not None and not isinstance(upsampler, BilinearUpsampler):
        yield f'upsampler {type(upsampler).__name__}'
    if decoder.refiner is not None:
        yield f'decoder.refiner {type(decoder.refiner).__name__}'
    elif decoder.at_input_size:
        yield 'decoder.at_input_size=True'
    if decoder.area_thd is not None:
        yield f'decoder.area_thd={decoder.area_thd}'


def check_size(size: Tuple[int, int], windows: Windows, tower: ImageTower) -> None:
    """Refuse an image size of which the only window would not consist of whole patches.

    Windows of ``windows.crop`` pixels are cut as in prediction; an image that is smaller, or taken as a whole, is one window.

    Args:
        size: Height and width.
        windows: The component that cuts images.
        tower: The image tower of the CLIP, which has no weights yet.

    Raises:
        ValueError: names the side, and sizes that are near.
    """
    crop = windows.crop
    for name, side, patch in zip(('height', 'width'), size, tower.patch_size):
        if side < patch:
            raise ValueError(f'--size: a {name} of {side} pixels is under one patch of the CLIP ({patch} pixels)')
        one_window = not crop or side < crop
        if one_window and side % patch:
            why = f'is under windows.crop={crop}' if crop else 'is one window (windows.crop=0)'
            raise ValueError(f'--size: a {name} of {side} pixels {why} and must be a multiple of the patch, {patch} pixels: '
                             f'{side // patch * patch} or {-(-side // patch) * patch}')


def check_weights(tower: ImageTower, fp16: bool) -> None:
    """Refuse weights that are too large for one file.

    Raises:
        ValueError: says how large they are.
    """
    size = sum(parameter.numel() for parameter in tower.parameters()) * (2 if fp16 else 4)
    if size >= LARGEST_FILE:
        raise ValueError(f'the weights take {size / 1e9:.1f} GB, and an ONNX file holds at most {LARGEST_FILE / 1e9:.1f} GB'
                         + ('' if fp16 else ': --fp16 halves them'))
