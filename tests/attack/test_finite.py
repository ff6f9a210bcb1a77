"""Images with NaN and Inf in random places, against loops: which pixels lose their class, and the labels of all others."""
import random

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from mmseg.structures import SegDataSample

from ovseg.inference.nonfinite import ImagePatches
from ovseg.inference.windows import window_starts
from ovseg.models import CLIPSegmentor
from ovseg.models.post_processors import PostProcessorChain, modules_from_switches
from ovseg.models.refiners import PAMR

PATCH = 16
VALUES = (torch.nan, torch.inf, -torch.inf)


@pytest.fixture(scope='module')
def segmentors():
    """Two random models; all that follows the encoder is set anew in each case."""
    built = []
    for cfg in (dict(model_type='Gated', apply_similarity_enhancement=True), dict(model_type='MaskCLIP')):
        with DefaultScope.overwrite_default_scope('mmseg'):
            built.append(CLIPSegmentor('ovseg-tiny-clip', None, ['red panda', 'grass, lawn', 'sea', 'rust'], ['a {}.'], **cfg))
    return built


def set_up(segmentor, rng):
    """Choose windows, modules and thresholds."""
    least = PATCH if rng.random() < 0.5 else 1
    segmentor.pad_mode = 'none' if least == PATCH else 'center'
    segmentor.slide_crop = rng.choice([0, rng.randint(29, 61)])
    segmentor.slide_stride = rng.randint(-(-segmentor.slide_crop // 2), segmentor.slide_crop) if segmentor.slide_crop else 0
    segmentor.window_batch_size = rng.choice([5, 32])
    segmentor.prob_thd, segmentor.bg_idx = rng.choice([0.0, 0.28]), rng.randrange(4)
    segmentor.area_thd = rng.choice([None, None, 0.2])
    segmentor.cls_token_lambda = rng.choice([0, -0.3])
    segmentor.with_seg_logits = rng.random() < 0.4
    segmentor.refine = PAMR(2, (1, 3)) if rng.random() < 0.2 else None
    segmentor.post_processors = PostProcessorChain(modules_from_switches(
        rng.random() < 0.5, dict(mode=rng.choice(['feature', 'attention'])), rng.random() < 0.5, dict(top_k=3),
        rng.choice([0, 0.2]), rng.random() < 0.5, dict(min_samples=2)))
    return [(rng.randint(least, 71), rng.randint(least, 71)) for _ in range(rng.randint(1, 2))]


def spoilt_windows(segmentor, image):
    """``(windows,)``: those that see a pixel that is not finite; without padding a window drops what fills no patch."""
    axes = []
    for size in image.shape[1:]:
        length = min(segmentor.slide_crop or size, size)
        seen = length // PATCH * PATCH if segmentor.pad_mode == 'none' else length
        axes.append([(start, start + seen) for start in window_starts(size, length, segmentor.slide_stride or 1)])
    return [not bool(image[:, top:bottom, left:right].isfinite().all()) for top, bottom in axes[0] for left, right in axes[1]]


def loop_labels(probabilities, defined, segmentor):
    """Labels of the ``defined`` pixels, one by one, of ``probabilities (K, H, W)``; 255 elsewhere."""
    kept = np.ones(len(probabilities), bool)
    if segmentor.area_thd is not None:
        areas = np.zeros(len(probabilities))
        for y, x in np.argwhere(defined):
            areas[probabilities[:, y, x].argmax()] += 1
        areas[segmentor.bg_idx] = 0
        kept = areas > np.float32(segmentor.area_thd) * np.float32(areas.sum())
        kept[segmentor.bg_idx] = True
    labels = np.full(defined.shape, 255)
    for y, x in np.argwhere(defined):
        left = np.where(kept, probabilities[:, y, x], 0)
        labels[y, x] = left.argmax() if left.max() >= segmentor.prob_thd else segmentor.bg_idx
    return labels


def check_batch(segmentor, rng, undefined_by_loop):
    sizes = set_up(segmentor, rng)
    torch.manual_seed(rng.randrange(2 ** 32))
    healed = [torch.randn(3, *size) for size in sizes]
    images, samples = [], []
    for image in healed:
        places = [tuple(map(rng.randrange, image.shape)) for _ in range(rng.choice([0, 1, 1, 2]))]
        for place in places:
            image[place] = 0
        images.append(image.clone())
        for place in places:
            images[-1][place] = rng.choice(VALUES)
        shape = rng.choice([tuple(image.shape[1:]), (rng.randint(1, 79), rng.randint(1, 79))])
        flip = rng.choice([None, 'horizontal', 'vertical', 'diagonal'])
        samples.append(SegDataSample(metainfo=dict(ori_shape=shape, flip=bool(flip), flip_direction=flip)))
    found = segmentor.predict(images, samples)
    for image, clean, windows, sample in zip(images, healed, segmentor._window_patches(healed), found):
        flipped = dict(horizontal=[1], vertical=[0], diagonal=[0, 1]).get(sample.flip_direction, [])
        bad = torch.tensor(spoilt_windows(segmentor, image))
        nonfinite = bad[:, None].expand(windows.patches.shape[:2])
        undefined = undefined_by_loop(nonfinite, image.shape[1:], segmentor.slide_crop, segmentor.slide_stride, (PATCH, PATCH),
                                      segmentor.pad_mode, sample.ori_shape)
        zeroed = ImagePatches(windows.layout, windows.patches.masked_fill(bad[:, None, None], 0), None)
        probabilities = segmentor._class_probabilities(clean, zeroed, sample.ori_shape)
        if segmentor.with_seg_logits or segmentor.area_thd is not None:
            expected = loop_labels(probabilities.numpy(), ~undefined, segmentor)
        else:
            expected = np.where(undefined, 255, segmentor._labels(clean, zeroed, sample.ori_shape).numpy())
        labels = np.flip(sample.pred_sem_seg.data[0].numpy(), flipped)
        np.testing.assert_array_equal(labels, expected)
        assert sample.get('nonfinite_pixels', 0) == undefined.sum()
        if segmentor.with_seg_logits:
            missing = sample.seg_logits.data.flip([axis + 1 for axis in flipped]).isnan()
            assert torch.equal(missing, torch.from_numpy(undefined).expand_as(missing))


@torch.no_grad()
def test_pixels_that_are_not_finite(attack, segmentors, undefined_by_loop):
    for seed in attack.seeds(10, 250):
        with attack.one_case(seed):
            rng = random.Random(seed)
            check_batch(rng.choice(segmentors), rng, undefined_by_loop)
