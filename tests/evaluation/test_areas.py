import numpy as np
import pytest
import torch
from mmseg.evaluation import IoUMetric

from ovseg.evaluation.areas import class_areas, class_iou


def labels(seed):
    """Prediction and ground truth; class 4 is nowhere, 255 is ignored, 9 is no class."""
    generator = torch.Generator().manual_seed(seed)
    predicted, ground_truth = (torch.randint(0, 4, (11, 13), generator=generator) for _ in range(2))
    ground_truth[0], ground_truth[1, 3:] = 255, 9
    return predicted, ground_truth.to(torch.uint8)


@pytest.mark.parametrize('ignore_index', [255, 9, 2, 300])
def test_areas_are_those_of_the_metric(ignore_index):
    predicted, ground_truth = labels(0)
    intersect, union, *others = IoUMetric.intersect_and_union(predicted, ground_truth.long(), 5, ignore_index)
    found = class_areas(predicted, ground_truth, 5, ignore_index)
    assert found.tolist() == [area.int().tolist() for area in (intersect, *others)]
    assert (found[1] + found[2] - found[0]).tolist() == union.int().tolist()


@pytest.mark.parametrize('ignored', [255, 65535])
@pytest.mark.parametrize('classes', [5, 7])
def test_predictions_without_a_class_miss_the_ground_truth(ignored, classes):
    predicted, ground_truth = labels(0)
    predicted[3:7, 2:9] = ignored
    intersect, _, *others = IoUMetric.intersect_and_union(predicted, ground_truth.long(), classes, 255)
    found = class_areas(predicted, ground_truth, classes, 255)
    assert found.tolist() == [area.int().tolist() for area in (intersect, *others)]
    counts = [[0] * classes for _ in range(3)]
    for guess, label in zip(predicted.flatten().tolist(), ground_truth.flatten().tolist()):
        if label != 255:
            for count, counted in zip(counts, (label if guess == label else None, guess, label)):
                if counted is not None and counted < classes:
                    count[counted] += 1
    assert found.tolist() == counts and found[1].sum() < found[2].sum()


def test_a_large_vocabulary_takes_memory_per_class_and_not_per_pair_of_classes():
    classes = 300_007  # of which the pairs would take 720 GB
    predicted, ground_truth = torch.tensor([[3, classes - 1, 7], [7, 5, classes]]), torch.tensor([[3, 2, 7], [5, 5, 11]])
    found = class_areas(predicted, ground_truth, classes, ignore_index=11)
    assert found.shape == (3, classes) and [area.nonzero().flatten().tolist() for area in found] == [
        [3, 5, 7], [3, 5, 7, classes - 1], [2, 3, 5, 7]]
    assert found[:, [2, 3, 5, 7]].tolist() == [[0, 1, 1, 1], [0, 1, 1, 2], [1, 1, 2, 1]]


def test_iou_of_classes():
    found = class_iou(np.array([[3, 0, 0], [7, 2, 0]]), np.array([[4, 5, 0], [7, 8, 0]]))
    np.testing.assert_array_equal(found, [[75, 0, np.nan], [100, 25, np.nan]])
    assert class_iou(np.array([0]), np.array([0]), absent=100).tolist() == [100]
