"""Boundary IoU against erosions of one mask after the other."""
import math

import cv2
import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData
from mmseg.evaluation import IoUMetric
from mmseg.structures import SegDataSample

from ovseg.evaluation.boundary_iou import BoundaryIoUMetric, boundary_areas, near_others, with_boundary_iou

CLASSES = 5  # the last of which is nowhere
SIZES = [(2, 3), (1, 7), (13, 5), (31, 37), (53, 29), (67, 101), (45, 60), (211, 173)]  # 45 x 60: 1.5 pixels, rounded to 2


def boundary_of_mask(mask, dilation):
    """A mask without its erosion by a square of 3 x 3, so many times over; what is outside of the image is not in the mask."""
    height, width = mask.shape
    times = max(1, round(dilation * np.sqrt(height ** 2 + width ** 2)))
    eroded = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    for _ in range(times):
        eroded = cv2.erode(eroded, np.ones((3, 3), np.uint8))
    return mask & (eroded[1:-1, 1:-1] == 0)


def areas_by_loop(prediction, ground_truth, ignore_index, dilation):
    """Intersection, and pixels of each boundary, a class at a time."""
    prediction, ground_truth = prediction.numpy(), ground_truth.numpy()
    scored = ground_truth != ignore_index
    areas = np.zeros((3, CLASSES), int)
    for index in range(CLASSES):
        predicted, labelled = (boundary_of_mask((labels == index) & scored, dilation) for labels in (prediction, ground_truth))
        areas[:, index] = (predicted & labelled).sum(), predicted.sum(), labelled.sum()
    return areas


def draw(seed):
    """Prediction and ground truth with blobs, thin lines, ignored pixels and predictions without a class."""
    rng = np.random.default_rng(seed)
    size = SIZES[seed % len(SIZES)]
    coarse = rng.integers(0, CLASSES - 1, (math.ceil(size[0] / 9), math.ceil(size[1] / 9)))
    ground_truth = np.kron(coarse, np.ones((9, 9), int))[:size[0], :size[1]]
    prediction = np.roll(ground_truth, rng.integers(-3, 4, 2), (0, 1))
    for labels in (prediction, ground_truth):
        labels[rng.integers(size[0])] = rng.integers(CLASSES - 1)
        noisy = rng.random(size) < 0.01 * (seed % 3)
        labels[noisy] = rng.integers(0, CLASSES - 1, noisy.sum())
    top, left = (int(rng.integers(side)) for side in size)
    ground_truth[top:top + 11, left:left + 7] = 255
    if seed % 2:
        prediction[left % size[0], top % size[1]] = 255
    return torch.from_numpy(prediction), torch.from_numpy(ground_truth)


@pytest.mark.parametrize('part', range(10))
def test_areas_are_those_of_eroded_masks(part):
    """200 random maps."""
    for seed in range(20 * part, 20 * part + 20):
        prediction, ground_truth = draw(seed)
        dilation = (0.02, 0.005, 0.1)[seed % 3]
        found = boundary_areas(prediction, ground_truth.to(torch.uint8), CLASSES, 255, dilation)
        np.testing.assert_array_equal(found, areas_by_loop(prediction, ground_truth, 255, dilation), err_msg=str(seed))


@pytest.mark.parametrize('ignore_index', [0, 3, 254])
def test_any_label_can_be_ignored(ignore_index):
    prediction, ground_truth = draw(3)
    found = boundary_areas(prediction, ground_truth, CLASSES, ignore_index)
    np.testing.assert_array_equal(found, areas_by_loop(prediction, ground_truth, ignore_index, 0.02))


def test_pixels_near_others_are_those_of_a_loop():
    labels = torch.from_numpy(np.random.default_rng(7).integers(0, 2, (11, 13))).kron(torch.ones(3, 3, dtype=torch.int64)).t()
    height, width = labels.shape
    for distance in (1, 2, 5, 50):
        found = near_others(labels, distance)
        for y in range(height):
            for x in range(width):
                inside = distance <= y < height - distance and distance <= x < width - distance
                window = labels[max(0, y - distance):y + distance + 1, max(0, x - distance):x + distance + 1]
                assert found[y, x] == (not inside or len(window.unique()) > 1), (distance, y, x)


def samples(seeds):
    return [SegDataSample(pred_sem_seg=PixelData(data=prediction[None]), gt_sem_seg=PixelData(data=ground_truth[None]))
            for prediction, ground_truth in map(draw, seeds)]


@pytest.mark.parametrize('nan_to_num', [None, 0])
def test_the_score_is_of_all_images_together(nan_to_num, monkeypatch):
    lines = []
    monkeypatch.setattr(MMLogger.get_current_instance(), 'handle', lambda record: lines.append(record.getMessage()))
    seeds = [3, 5, 12]
    with DefaultScope.overwrite_default_scope('mmseg'):
        evaluator = Evaluator(with_boundary_iou(dict(type='IoUMetric', iou_metrics=['mIoU'], nan_to_num=nan_to_num)))
    evaluator.dataset_meta = dict(classes=list('abcde'))
    for seed in seeds:
        evaluator.process(samples([seed]))
    scores = evaluator.evaluate(3)
    intersect, predicted, labelled = sum(areas_by_loop(*draw(seed), 255, 0.02) for seed in seeds)
    iou = intersect[:4] / (predicted + labelled - intersect)[:4]
    expected = 100 * np.mean(iou if nan_to_num is None else [*iou, nan_to_num])
    assert scores['mBoundaryIoU'] == round(expected, 2) < scores['mIoU']
    rows = [line.split('|')[1:3] for line in lines[-1].splitlines() if '|' in line][1:]
    assert [name.strip() for name, _ in rows] == list('abcde')
    np.testing.assert_allclose([float(value) for _, value in rows[:4]], 100 * iou, atol=0.00501)


def test_equal_maps_score_a_hundred_and_inverted_ones_nothing():
    labels = torch.zeros(31, 37, dtype=torch.int64)
    labels[:, 11:] = 1
    for prediction, expected in ((labels, 100), (1 - labels, 0)):
        metric = BoundaryIoUMetric()
        metric.dataset_meta = dict(classes=['a', 'b'])
        metric.process(None, [dict(pred_sem_seg=dict(data=prediction[None]), gt_sem_seg=dict(data=labels[None]))])
        assert metric.evaluate(1) == dict(mBoundaryIoU=expected)


@pytest.mark.parametrize('dilation', [0, -0.1, 1.5, 'wide'])
def test_a_width_that_is_none_is_refused(dilation):
    with pytest.raises(ValueError, match=r'test_evaluator\.dilation='):
        BoundaryIoUMetric(dilation=dilation)


def test_the_switch_adds_the_metric_once():
    wide = dict(type='IoUMetric', iou_metrics=['mIoU'], ignore_index=65535, prefix='x')
    added = with_boundary_iou(wide)
    assert added == [wide, dict(type='BoundaryIoUMetric', ignore_index=65535, prefix='x')]
    assert with_boundary_iou(added) == added
    own = [dict(type='CityscapesMetric'), dict(type=IoUMetric)]
    assert with_boundary_iou(own) == [*own, dict(type='BoundaryIoUMetric')]
    with pytest.raises(ValueError, match='--boundary-iou needs an IoUMetric in the test_evaluator'):
        with_boundary_iou(dict(type='HeadAccuracy'))
