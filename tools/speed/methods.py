"""Time and memory of every method with its own windows."""
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence

import torch
from mmengine.config import Config
from mmseg.structures import SegDataSample
from speed.timing import Group, in_fresh_process, peak_memory_mb
from speed.workloads import IMAGE, MODELS, OUTPUT, original_size, unit_rows
from torch import Tensor, nn

from ovseg.models import CLIPSegmentor
from ovseg.models.guides import TimmGuide
from ovseg.models.regions import Regions
from ovseg.resources import configs_dir


@dataclass(frozen=True)
class Blocks(Regions):
    """Squares, as region maps that cost nothing to compute."""
    side: int = 56

    def __call__(self, network: None, rgb: Tensor, sample: SegDataSample) -> Tensor:
        rows, columns = (torch.arange(size, device=rgb.device) // self.side for size in rgb.shape[1:])
        return rows.unsqueeze(1) * len(columns) + columns + 1


def method_configs(small: bool) -> Dict[str, Dict[str, Any]]:
    """Components of the methods that are more than an attention, by name; for the tiny CLIP as in its demo."""
    pattern, key = ('demo/*_tiny-clip_demo.py', 'model') if small else ('_base_/methods/*.py', 'method')
    found = {path.stem.split('_tiny-clip')[0]: Config.fromfile(path)[key].to_dict()
             for path in sorted(configs_dir().glob(pattern))}
    return {name: cfg for name, cfg in found.items() if 'type' in cfg['image_encoder'] or 'upsampler' in cfg
            or any('guide' in module for module in cfg.get('post_processors', []))}


def build(clip_model: str, method: Dict[str, Any], classes: int, device: str, precision: str) -> CLIPSegmentor:
    """A method with random weights in all of its networks."""
    encoder = dict(method['image_encoder'], precision=precision)
    for part in (encoder, *method.get('post_processors', [])):
        if part.get('guide', {}).get('type') == 'TimmGuide':
            part['guide'] = dict(part['guide'], pretrained=None, precision=precision)
    if encoder.get('type') == 'CorrCLIPEncoder':
        encoder['regions'] = Blocks()
    components = {key: method[key] for key in ('post_processors', 'windows', 'decoder') if key in method}
    if 'upsampler' in method:
        components['upsampler'] = dict(method['upsampler'], pretrained=None)
    names = [f'thing {index}' for index in range(classes)]
    model = CLIPSegmentor(clip=dict(name=clip_model, pretrained=None), vocabulary=dict(names=names, templates=['{}']),
                          image_encoder=encoder, **components).to(device)
    model.text_embeddings = unit_rows(classes, model.tower.output_width)
    return model


def plain_forwards(model: CLIPSegmentor, image: Tensor) -> Callable[[], None]:
    """A function that runs the whole of each frozen network on all windows of an image, in one batch."""
    batch = model.batch(model.plan(IMAGE).cut(image), None if model.image_encoder.regions is None else torch.zeros(0))
    networks: List[nn.Module] = [guide.load().to(image.device) for guide in {
        replace(guide, features='tokens') for guide in model.networks if isinstance(guide, TimmGuide)}]

    def run() -> None:
        model.tower.pooled(batch.images)
        for network in networks:
            network(batch.rgb)

    return run


def methods(clip_model: str, device: str, precision: str, baseline: Optional[str], small: bool) -> Iterator[Group]:
    """Image to labels over the plain forwards of the networks; all windows in one batch, and one at a time as released."""
    for classes in (21, 150):
        for name, method in method_configs(small).items():
            model = build(clip_model, method, classes, device, precision)
            image = torch.randn(3, *IMAGE, device=device)
            candidates: Dict[str, Callable[[], Any]] = {
                'plain forwards': plain_forwards(model, image), name: partial(original_size, model, [image], OUTPUT)}
            if baseline == 'loop':
                one = model.variant(windows=replace(model.windows, batch_size=1))
                candidates['one window at a time'] = partial(original_size, one, [image], OUTPUT)
            windows = f'{len(model.plan(IMAGE))} windows of {model.windows.crop}'
            yield Group(name, f'{IMAGE[0]}x{IMAGE[1]}, {windows}, to {OUTPUT[0]}x{OUTPUT[1]}, {classes} classes', candidates,
                        precision, 1)


def method_memory(name: str, classes: int) -> float:
    """Peak MB of a process that segments an image of 1024 x 2048 pixels with so many classes, by a method of the demo.

    LPOSS+, whose nodes are pixels, is given the 448 x 896 pixels of its protocol, and one step, which holds what all hold.
    """
    method = method_configs(small=True)[name]
    size = (1024, 2048)
    if 'refiner' in method.get('decoder', {}):
        method['decoder']['refiner']['num_iter'] = 1
        size = (448, 896)
    with torch.no_grad():
        original_size(build(MODELS['small'], method, classes, 'cpu', 'fp32'), [torch.randn(3, *size)], (1024, 2048))
    return peak_memory_mb()


def memory_by_method(vocabularies: Sequence[int] = (1, 847)) -> Dict[str, Dict[int, float]]:
    return {name: {classes: in_fresh_process(method_memory, name, classes) for classes in vocabularies}
            for name in method_configs(small=True)}
