import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ovseg.models.dense.segmentation_feedback import connection_map, most_frequent, refined_labels, segmented_patches
from ovseg.models.refiners import PAMR

GRID, PATCH = (3, 5), (7, 11)


def loop_connections(labels, gaussian_std):
    """The map of one window, pair by pair, on a grid ``(rows, columns)`` of labels."""
    places = [(row, column) for row in range(labels.shape[0]) for column in range(labels.shape[1])]
    longest, count = max(labels.shape) - 1, len(places)
    shares = torch.linspace(0, 1, longest + 1).numpy()
    values = np.zeros((count, count))
    for i, start in enumerate(places):
        for j, end in enumerate(places):
            steps = max(abs(a - b) for a, b in zip(start, end))
            path = [tuple(int(np.round(np.float32(a) * left + np.float32(b) * share)) for a, b in zip(start, end))
                    for share, left in zip(shares[:steps + 1], np.float32(1) - shares)]
            free = all(labels[place] == labels[start] for place in path)
            values[i, j] = (labels[start] == labels[end]) * (1 if free else math.exp(-steps / longest))
    half = min(count, int(6 * gaussian_std + 1)) // 2
    kernel = [math.exp(-distance ** 2 / (2 * gaussian_std ** 2)) for distance in range(-half, half + 1)]
    smooth = np.array([[sum(row[j + k - half] * kernel[k] for k in range(2 * half + 1) if 0 <= j + k - half < count)
                        for j in range(count)] for row in values]) / sum(kernel)
    smooth /= smooth.sum(axis=1, keepdims=True) + 1e-8
    return smooth / smooth.max()


@pytest.mark.parametrize(('grid_size', 'std', 'draws'), [
    ((5, 7), 5.0, 3), ((7, 3), 0.7, 5), ((1, 11), 2.0, 5), ((2, 2), 5.0, 5), ((1, 1), 5.0, 1), ((9, 9), 1.3, 1)])
def test_connections_equal_the_loop(generator, grid_size, std, draws):
    labels = torch.randint(3, (draws, math.prod(grid_size)), generator=generator)
    expected = [loop_connections(window.view(grid_size).numpy(), std) for window in labels]
    torch.testing.assert_close(connection_map(labels, grid_size, std), torch.tensor(np.array(expected)).float())


def test_a_patch_of_another_label_between_two_weakens_their_connection():
    whole, cut = connection_map(torch.tensor([[0, 0, 0, 0, 0], [0, 0, 1, 0, 0]]), (1, 5), 0.1)
    assert torch.equal(whole, torch.ones(5, 5) / 5 / 0.2)
    assert cut[0, 1] > cut[0, 3] > 0 and cut[0, 2] == 0


@pytest.mark.parametrize('seed', range(20))
def test_the_most_frequent_label_is_the_mode(seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(5, (2, 3 * 7 + 4, 5 * 11 + 2), generator=generator) ** 2 // 3  # uneven, with ties
    found = most_frequent(labels, GRID, PATCH, 6)
    for window, rows in zip(labels, found.view(2, *GRID)):
        for row in range(GRID[0]):
            for column in range(GRID[1]):
                patch = window[7 * row:7 * (row + 1), 11 * column:11 * (column + 1)]
                assert rows[row, column] == patch.flatten().mode().values


def labels_one_by_one(images, scores, size, threshold):
    found = []
    for image, window in zip(images, scores):
        dense = F.interpolate(window.t().view(1, -1, *GRID), size=size, mode='bilinear', align_corners=False)[0]
        best, labels = (40 * PAMR().of_image(image)(dense)).softmax(0).max(0)
        labels[best < threshold] = 0
        found.append(labels)
    return torch.stack(found)


@pytest.mark.parametrize('chunk_size', [1, 4, 13])
@pytest.mark.parametrize('threshold', [0.0, 0.3])
def test_labels_of_pixels_equal_those_of_single_windows(chunk_size, threshold):
    images, scores = torch.randn(3, 3, 23, 59), torch.randn(3, 15, 13) / 20
    expected = labels_one_by_one(images, scores, (23, 59), threshold)
    assert 0 < (expected == 0).double().mean() < 1 and len(expected.unique()) > 3
    found = refined_labels(images, scores, GRID, 40, threshold, chunk_size)
    assert (found == expected).double().mean() > 0.999


@pytest.mark.parametrize('memory_mb', [0.001, 0.5, 256])
def test_memory_bounds_do_not_change_the_patches(memory_mb):
    images, scores = torch.randn(3, 3, 23, 59), torch.randn(3, 15, 13) / 20
    pixels = labels_one_by_one(images, scores, (23, 59), 0.3)
    found = segmented_patches(images, scores, GRID, PATCH, 40, 0.3, memory_mb)
    assert torch.equal(found, most_frequent(pixels, GRID, PATCH, 13))


def test_non_contiguous_input():
    images, scores = torch.randn(59, 23, 3, 2).permute(3, 2, 1, 0), torch.randn(13, 15, 2).permute(2, 1, 0) / 20
    plain = segmented_patches(images.contiguous(), scores.contiguous(), GRID, PATCH, 40, 0.3)
    assert torch.equal(segmented_patches(images, scores, GRID, PATCH, 40, 0.3), plain)
