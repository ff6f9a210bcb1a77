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
from ovseg.models.refiners import PAMR
from ovseg.models.segmentors.switches import nested_model

PATCH = 16
VALUES = (torch.nan, torch.inf, -torch.inf)


@pytest.fixture(scope='module')
def segmentors():
    """Two random models; a case takes a variant of one, with all components that follow the encoder chosen anew."""
    built = []
    for cfg in (dict(model_type='Gated', apply_similarity_enhancement=True), dict(model_type='MaskCLIP')):
        with DefaultScope.overwrite_default_scope('mmseg'):
            built.append(CLIPSegmentor(clip_model='ovseg-tiny-clip', pretrained=None, prompt_templates=['a {}.'],
                                       name_path=['red panda', 'grass, lawn', 'sea', 'rust'], **cfg))
    return built


def set_up(segmentor, rng):
    """A variant of random windows, modules and thresholds, and sizes of images for it."""
    least = PATCH if rng.random() < 0.5 else 1
    crop = rng.choice([0, rng.randint(29, 61)])
    stride = rng.randint(-(-crop // 2), crop) if crop else 1
    windows = dict(crop=crop, stride=stride, pad_mode='none' if least == PATCH else 'center', batch_size=rng.choice([5, 32]))
    decoder = dict(prob_thd=rng.choice([0.0, 0.28]), bg_idx=rng.randrange(4), area_thd=rng.choice([None, None, 0.2]),
                   cls_token_lambda=rng.choice([0, -0.3]), with_seg_logits=rng.random() < 0.4,
                   refiner=PAMR(2, (1, 3)) if rng.random() < 0.2 else None)
    chain = nested_model({}, dict(
        apply_self_attn_enhancement=rng.random() < 0.5,
        self_attn_enhancement_cfg=dict(mode=rng.choice(['feature', 'attention'])), apply_outlier_suppression=rng.random() < 0.5,
        outlier_suppression_cfg=dict(top_k=3), global_debias_factor=rng.choice([0, 0.2]), apply_ctd=rng.random() < 0.5,
        ctd_cfg=dict(min_samples=2)))
    return (segmentor.variant(windows=windows, decoder=decoder, **chain),
            [(rng.randint(least, 71), rng.randint(least, 71)) for _ in range(rng.randint(1, 2))])


def spoilt_windows(segmentor, image):
    """``(windows,)``: those that see a pixel that is not finite; without padding a window drops what fills no patch."""
    axes = []
    for size in image.shape[1:]:
        length = min(segmentor.windows.crop or size, size)
        seen = length // PATCH * PATCH if segmentor.windows.pad_mode == 'none' else length
        axes.append([(start, start + seen) for start in window_starts(size, length, segmentor.windows.stride)])
    return [not bool(image[:, top:bottom, left:right].isfinite().all()) for top, bottom in axes[0] for left, right in axes[1]]


def loop_labels(probabilities, defined, decoder):
    """Labels of the ``defined`` pixels, one by one, of ``probabilities (K, H, W)``; 255 elsewhere."""
    kept = np.ones(len(probabilities), bool)
    if decoder.area_thd is not None:
        areas = np.zeros(len(probabilities))
        for y, x in np.argwhere(defined):
            areas[probabilities[:, y, x].argmax()] += 1
        areas[decoder.bg_idx] = 0
        kept = areas > np.float32(decoder.area_thd) * np.float32(areas.sum())
        kept[decoder.bg_idx] = True
    labels = np.full(defined.shape, 255)
    for y, x in np.argwhere(defined):
        left = np.where(kept, probabilities[:, y, x], 0)
        labels[y, x] = left.argmax() if left.max() >= decoder.prob_thd else decoder.bg_idx
    return labels


def check_batch(segmentor, rng, undefined_by_loop):
    segmentor, sizes = set_up(segmentor, rng)
    cut, decoder = segmentor.windows, segmentor.decoder
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
    for image, clean, windows, sample in zip(images, healed, segmentor.window_patches(healed), found):
        flipped = dict(horizontal=[1], vertical=[0], diagonal=[0, 1]).get(sample.flip_direction, [])
        bad = torch.tensor(spoilt_windows(segmentor, image))
        nonfinite = bad[:, None].expand(windows.patches.shape[:2])
        undefined = undefined_by_loop(nonfinite, image.shape[1:], cut.crop, cut.stride, (PATCH, PATCH), cut.pad_mode,
                                      sample.ori_shape)
        zeroed = ImagePatches(windows.layout, windows.patches.masked_fill(bad[:, None, None], 0), None)
        probabilities = decoder.probabilities(clean, zeroed, segmentor.texts, sample.ori_shape)
        if decoder.with_seg_logits or decoder.area_thd is not None:
            expected = loop_labels(probabilities.numpy(), ~undefined, decoder)
        else:
            expected = np.where(undefined, 255, decoder(clean, zeroed, segmentor.texts, sample.ori_shape)[0].numpy())
        labels = np.flip(sample.pred_sem_seg.data[0].numpy(), flipped)
        np.testing.assert_array_equal(labels, expected)
        assert sample.get('nonfinite_pixels', 0) == undefined.sum()
        if decoder.with_seg_logits:
            missing = sample.seg_logits.data.flip([axis + 1 for axis in flipped]).isnan()
            assert torch.equal(missing, torch.from_numpy(undefined).expand_as(missing))


@torch.no_grad()
def test_pixels_that_are_not_finite(attack, segmentors, undefined_by_loop):
    for seed in attack.seeds(10, 250):
        with attack.one_case(seed):
            rng = random.Random(seed)
            check_batch(rng.choice(segmentors), rng, undefined_by_loop)
