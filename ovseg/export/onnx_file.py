"""One ONNX file of a segmentor: written, and compared with PyTorch."""
import json
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor

from ovseg.apis.model_config import config_name
from ovseg.apis.request import Request
from ovseg.apis.run_settings import model_settings
from ovseg.demo.scenes import draw_scene
from ovseg.export.network import LabelNetwork
from ovseg.export.refusals import OPSET
from ovseg.extras import needed
from ovseg.files import write_whole
from ovseg.inference.nonfinite import ignore_label
from ovseg.models import CLIPSegmentor
from ovseg.utils import one_line, quoted
from ovseg.version import __version__

IMAGES = 3  # that labels are compared on
AGREEMENT = {False: 0.999, True: 0.99}  # share of the pixels whose labels must be equal, by ``fp16``
SMALLEST_WEIGHT = 1024  # numbers of a tensor that is stored in 16 bits
LARGEST_HALF = 65504.0


class Report(NamedTuple):
    """The comparison of a file with PyTorch.

    Args:
        shares: Of each image the share of its pixels whose labels are equal.
        megabytes: Size of the file.
    """
    shares: List[float]
    megabytes: float

    @property
    def agreement(self) -> float:
        """The share of the pixels of all images."""
        return sum(self.shares) / len(self.shares)


def write_onnx(model: CLIPSegmentor, size: Tuple[int, int], path: Path, fp16: bool, about: Dict[str, Any]) -> Report:
    """Write a segmentor as an ONNX file, whose labels are those of ``CLIPSegmentor.predict``.

    Args:
        model: On the CPU.
        size: Height and width of the images.
        path: The file.
        fp16: Store large weights in 16 bits. They are converted to float32 when the file is loaded.
        about: What the metadata of the file says.

    Raises:
        ValueError: a component cannot be traced, or the labels differ on too many pixels; no file is written then.
    """
    onnx = needed('onnx', 'export', 'ovseg export')
    images = drawn_images(size)
    expected = labels_of_torch(model, images)
    proto = traced(model, size)
    if fp16:
        halve_weights(proto)
    onnx.helper.set_model_props(proto, {key: json.dumps(value) for key, value in about.items()})
    reports: List[Report] = []

    def write(part: Path) -> None:
        onnx.save(proto, part)
        shares = (labels_of_file(part, images) == expected).mean(axis=(1, 2)).tolist()
        reports.append(Report(shares, part.stat().st_size / 1e6))
        if reports[0].agreement < AGREEMENT[fp16]:
            raise ValueError(f'{quoted(path)} was not written: onnxruntime and PyTorch give only {reports[0].agreement:.2%} of '
                             f'the pixels of {IMAGES} drawn images the same label, and {AGREEMENT[fp16]:.1%} are needed')

    write_whole(path, write)
    return reports[0]


def description(cfg: Config, model: CLIPSegmentor, request: Request, palette: Sequence[Sequence[int]],
                fp16: bool) -> Dict[str, Any]:
    """The metadata of a file: class names and colours of ``CLIPSegmentor`` labels, and the settings they depend on.

    Args:
        cfg: The config that ``model`` was built from.
        model: With the classes and thresholds of ``request``.
        request: Of the command.
        palette: One RGB colour per class.
        fp16: See ``write_onnx``.
    """
    chosen = request._replace(vocabulary=model.words)  # with the background words
    settings = dict(model_settings(cfg, model, chosen), config=Path(config_name(cfg)).stem, fp16=fp16)
    return dict(classes=request.names, synonyms=model.words.synonyms, palette=[list(colour) for colour in palette],
                no_class=ignore_label(len(request.names)), settings=settings, ovseg=__version__)


def traced(model: CLIPSegmentor, size: Tuple[int, int]) -> Any:
    """The ``ModelProto`` of a segmentor.

    Raises:
        ValueError: a component cannot be traced.
    """
    network = LabelNetwork(model, size).eval()
    modules = ', '.join(type(module).__name__ for module in (model.image_encoder, *model.post_processors.modules))
    example = torch.zeros(2, *size, 3, dtype=torch.uint8)
    with torch.no_grad():
        try:
            program: Any = torch.onnx.export(network, (example,), dynamo=True, opset_version=OPSET, input_names=['images'],
                                        output_names=['labels'], dynamic_shapes=[{0: torch.export.Dim('batch')}],
                                        verbose=False)
        except torch.onnx.OnnxExporterError as error:
            raise ValueError(f'{modules} cannot be traced: {one_line(_cause(error))}') from error
    proto = program.model_proto
    if not proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param:
        raise ValueError(f'{modules} cannot be traced for batches of any size: len(tensor) and split, for instance, fix it')
    for node in proto.graph.node:
        del node.metadata_props[:]  # stack traces, with paths of this machine
    return proto


def _cause(error: BaseException) -> BaseException:
    """The error that others were raised from."""
    return error if error.__cause__ is None else _cause(error.__cause__)


def halve_weights(proto: Any) -> None:
    """Store the large float32 tensors of a model in 16 bits, and insert nodes that convert them back."""
    onnx = needed('onnx', 'export', 'ovseg export')
    casts = []
    for tensor in proto.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < SMALLEST_WEIGHT or abs(values).max() > LARGEST_HALF:
            continue
        name = f'{tensor.name}_fp16'
        casts.append(onnx.helper.make_node('Cast', [name], [tensor.name], to=onnx.TensorProto.FLOAT))
        tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), name))
    for index, node in enumerate(casts):
        proto.graph.node.insert(index, node)


def drawn_images(size: Tuple[int, int]) -> np.ndarray:
    """Drawn scenes, ``(IMAGES, H, W, 3)`` uint8 RGB."""
    return np.stack([draw_scene(np.random.default_rng(seed), *size).image for seed in range(IMAGES)])


def labels_of_torch(model: CLIPSegmentor, images: np.ndarray) -> np.ndarray:
    """Labels ``(B, H, W)`` that ``CLIPSegmentor.predict`` gives."""
    inputs: List[Tensor] = [torch.from_numpy(np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1))) for image in images]
    with torch.no_grad():
        samples = model.test_step(dict(inputs=inputs))
    return np.stack([sample.pred_sem_seg.data[0].numpy() for sample in samples])


def labels_of_file(path: Path, images: np.ndarray) -> np.ndarray:
    """Labels ``(B, H, W)`` that a file gives in onnxruntime: of the first image alone, and of the others together."""
    session = needed('onnxruntime', 'export', 'ovseg export').InferenceSession(path, providers=['CPUExecutionProvider'])
    return np.concatenate([session.run(None, {'images': some})[0] for some in (images[:1], images[1:])])
