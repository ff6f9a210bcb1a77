"""Throughput of whole evaluations: images per second, what the host does for them, and what the data set's workers do."""
import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence
from unittest.mock import patch

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmengine.structures import PixelData
from mmseg.registry import DATASETS
from mmseg.structures import SegDataSample
from PIL import Image
from speed.references import loop_predict
from speed.timing import Group
from speed.workloads import IMAGE, OUTPUT, build, original_size
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ovseg.config import read_config
from ovseg.inference import nonfinite
from ovseg.models.segmentors import clip_segmentor
from ovseg.resources import config_path

CLASSES = 150
SIZES = ((512, 683), (683, 512), (512, 512), (512, 768))  # of ADE20K's validation images; the last two have other windows


class _Counter(TorchDispatchMode):
    """Counts the operators that are called."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return function(*args, **(kwargs or {}))


def host_cost(clip_model: str, classes: int, images: int = 8, rounds: int = 9) -> Dict[str, float]:
    """Operators called, and milliseconds of the host, for each of ``images`` that are segmented together.

    The device is ``meta``, which computes nothing, so that the only wait for a device, for whether patches are finite, is left
    out. Its operators are partly written in Python and take longer than starting those of a GPU.
    """
    model = build(clip_model, 'cpu', classes, batch_size=6 * images).to('meta')
    batch = [torch.empty(3, *IMAGE, device='meta') for _ in range(images)]
    samples = [SegDataSample(metainfo=dict(ori_shape=OUTPUT)) for _ in batch]
    finite = dict(exceptions=lambda finite: [None] * len(finite))
    seconds = []
    with patch.multiple(nonfinite, **finite), patch.multiple(clip_segmentor, **finite):
        model.predict(batch, samples)  # makes what depends on the geometry alone
        with _Counter() as counter:
            model.predict(batch, samples)
        for _ in range(rounds):
            start = time.perf_counter()
            model.predict(batch, samples)
            seconds.append(time.perf_counter() - start)
    return dict(operators=counter.count / images, ms=1000 * statistics.median(seconds) / images)


def write_dataset(root: Path, images: int) -> None:
    """Smooth random images of ADE20K's sizes as JPEG, and label maps, in ADE20K's folders."""
    rng = np.random.default_rng(0)
    for name in ('images', 'annotations'):
        (root / name / 'validation').mkdir(parents=True)
    for index in range(images):
        height, width = SIZES[index % len(SIZES)]
        colours = Image.fromarray(rng.integers(0, 256, (height // 16, width // 16, 3), np.uint8)).resize((width, height), 3)
        noise = rng.integers(-12, 13, (height, width, 3))
        pixels = np.clip(np.asarray(colours) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(root / f'images/validation/{index:04}.jpg', quality=90)
        labels = Image.fromarray(rng.integers(0, CLASSES + 1, (height // 32, width // 32), np.uint8)).resize((width, height), 0)
        labels.save(root / f'annotations/validation/{index:04}.png')


def evaluation_config(clip_model: str, precision: str, root: Path, workers: int) -> Config:
    """ADE20K's config with random weights and the data set of ``write_dataset``."""
    return read_config(config_path('gated/gated_vit-b16_ade20k.py'), {
        'model.clip': dict(name=clip_model, pretrained=None), 'model.image_encoder.precision': precision,
        'model.vocabulary.templates': ['{}'], 'test_dataloader.dataset.data_root': str(root),
        'test_dataloader.num_workers': workers, 'work_dir': str(root / 'work_dir'), 'log_level': 'ERROR',
        'visualizer.name': str(root)})


def images_loaded_per_second(root: Path) -> float:
    """Images that one process loads in a second: read, decoded, resized and packed with their label maps."""
    cfg = evaluation_config('ovseg-tiny-clip', 'fp32', root, 0)
    torch.set_num_threads(1)
    with DefaultScope.overwrite_default_scope('mmseg'):
        dataset = DATASETS.build(cfg.test_dataloader.dataset)
    rates = []
    for _ in range(3):
        start = time.perf_counter()
        for index in range(len(dataset)):
            _ = dataset[index]
        rates.append(len(dataset) / (time.perf_counter() - start))
    return statistics.median(rates)


def evaluation(clip_model: str, device: str, precision: str, root: Path, baseline: Optional[str] = None,
               workers: int = 2) -> Group:
    """A whole evaluation, from the image files to the mIoU, over the plain ViT's forward passes of the same windows."""
    runner = Runner.from_cfg(evaluation_config(clip_model, precision, root, workers))
    model, dataset = runner.model, runner.test_loop.dataloader.dataset
    images = [dataset[index]['inputs'] for index in range(len(SIZES))]
    inputs = model.data_preprocessor(dict(inputs=images))['inputs']
    windows = [model.plan((image.shape[1], image.shape[2])).cut(image).to(model.tower.dtype) for image in inputs]
    _ = model.text_embeddings
    model.tower.pooled(windows[0])

    def plain() -> None:
        for index in range(len(dataset)):
            model.tower.pooled(windows[index % len(SIZES)])

    def loop() -> None:
        def predict(images: Sequence[Tensor], samples: List[SegDataSample]) -> List[SegDataSample]:
            for image, sample in zip(images, samples):
                sample.pred_sem_seg = PixelData(data=loop_predict(model, image, sample.ori_shape).unsqueeze(0))
            return samples

        with patch.object(type(model), 'predict', staticmethod(predict)):
            runner.test()

    candidates = {'plain ViT forward': plain, 'ovseg test': runner.test}
    if baseline == 'loop':
        candidates['loop, one window at a time'] = loop
    return Group('evaluation', f"{len(dataset)} images of ADE20K's size, {CLASSES} classes, {workers} workers", candidates,
                 precision, len(dataset), rounds=1, warm_up=False)


def compiled(clip_model: str, device: str, precision: str) -> Group:
    """The encoder through ``torch.compile``, and as it is, over the plain ViT's forward pass of the same windows."""
    model = build(clip_model, device, 21, precision)
    faster = model.variant(image_encoder=dict(attention='Gated', similarity={}, precision=precision, compile=True))
    image = torch.randn(3, *IMAGE, device=device)
    windows = model.plan(IMAGE).cut(image).to(model.tower.dtype)
    return Group('compile', f'{IMAGE[0]}x{IMAGE[1]}, {len(windows)} windows, 21 classes', {
        'plain ViT forward': lambda: model.tower.pooled(windows), 'ovseg': partial(original_size, model, [image], OUTPUT),
        'ovseg, compile=True': partial(original_size, faster, [image], OUTPUT)}, precision, 1)
