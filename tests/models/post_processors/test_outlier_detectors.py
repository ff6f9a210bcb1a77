import math

import pytest
import torch
from sklearn.neighbors import LocalOutlierFactor

from ovseg.models.post_processors.outlier_detectors import (
    DETECTORS,
    cls_ratio,
    deviation,
    distances,
    local_outlier_factor,
    norm,
)


def plain_lof(patches):
    return torch.stack([torch.from_numpy(-LocalOutlierFactor(n_neighbors=30).fit(window.double().numpy())
                                         .negative_outlier_factor_) for window in patches]).float()


def test_cls_ratio_equals_a_plain_one(features_of, grid):
    attn = features_of(grid).attn
    expected = [[attn[b, 0, i].item() / (attn[b, i, i].item() + 1e-8) for i in range(1, attn.shape[1])] for b in range(3)]
    torch.testing.assert_close(cls_ratio(attn), torch.tensor(expected))


def test_cls_ratio_of_a_patch_that_does_not_see_itself():
    attn = torch.tensor([[[0.1, 0.6, 0.3], [1.0, 0.0, 0.0], [0.2, 0.2, 0.6]]])
    torch.testing.assert_close(cls_ratio(attn), torch.tensor([[0.6 / 1e-8, 0.3 / (0.6 + 1e-8)]]))


def test_cls_ratio_is_computed_in_float32_even_of_half_precision(features_of):
    attn = features_of((5, 7)).attn.half()
    attn[:, 4, 4] = 0
    found = cls_ratio(attn)
    assert found.dtype == torch.float32 and found.isfinite().all()
    torch.testing.assert_close(found, cls_ratio(attn.float()))


def test_deviation_equals_a_plain_one(features_of, grid):
    patches = features_of(grid).patches
    expected = []
    for window in patches.double():
        mean = [sum(x[c].item() for x in window) / len(window) for c in range(11)]
        expected.append([math.sqrt(sum((x[c].item() - mean[c]) ** 2 for c in range(11))) for x in window])
    torch.testing.assert_close(deviation(patches), torch.tensor(expected), atol=1e-5, rtol=1e-5)


def test_norm_equals_a_plain_one(features_of, grid):
    patches = features_of(grid).patches
    expected = [[math.sqrt(sum(value ** 2 for value in x)) for x in window] for window in patches.double().tolist()]
    torch.testing.assert_close(norm(patches), torch.tensor(expected))


@pytest.mark.parametrize('scale', [1e-12, 1, 1e12])
def test_distances_equal_differences(scale):
    """Of tokens that are far from zero beside their distances, and of equal ones."""
    patches = torch.randn(3, 61, 131)
    patches[:, 7] *= 1e3
    patches = (patches + 100) * scale
    patches[:, 5] = patches[:, 3]
    found = distances(patches)
    expected = (patches.double().unsqueeze(1) - patches.double().unsqueeze(2)).norm(dim=-1).float()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)
    assert (found == 0).sum() == 3 * (61 + 2)


@pytest.mark.parametrize('detector', [deviation, norm], ids=['deviation', 'norm'])
def test_lengths_over_the_range_of_half_precision(features_of, detector):
    patches = (300 * features_of((5, 7)).patches).half()
    found = detector(patches)
    assert found.dtype == torch.float32 and found.isfinite().all()
    assert found.square().max() > torch.finfo(torch.float16).max
    torch.testing.assert_close(found, detector(patches.float()))


@pytest.mark.filterwarnings('ignore:n_neighbors')
@pytest.mark.parametrize('count', [2, 7, 30, 31, 32, 61])
def test_lof_equals_scikit_learn(count):
    patches = torch.randn(3, count, 11)
    patches[:, 0] *= 5
    torch.testing.assert_close(local_outlier_factor(patches), plain_lof(patches), atol=1e-4, rtol=1e-4)


@pytest.mark.filterwarnings('ignore:n_neighbors')
def test_lof_equals_scikit_learn_on_grids(features_of, grid):
    patches = features_of(grid).patches
    expected = plain_lof(patches) if patches.shape[1] > 1 else torch.ones(3, 1)
    torch.testing.assert_close(local_outlier_factor(patches), expected, atol=1e-4, rtol=1e-4)


def test_lof_finds_a_point_that_lies_apart():
    patches = torch.randn(2, 47, 5)
    patches[0, 13] += 20
    patches[1, 29] += 20
    found = local_outlier_factor(patches)
    assert found.argmax(1).tolist() == [13, 29]
    assert found.amax(1).min() > 3 and found.median(1).values.max() < 1.2


def test_lof_with_duplicates_and_zero_vectors_equals_scikit_learn():
    patches = torch.randn(2, 41, 11)
    patches[:, 3:12] = patches[:, 2:3]
    patches[:, 20:27] = 0
    torch.testing.assert_close(local_outlier_factor(patches), plain_lof(patches), atol=1e-4, rtol=1e-4)


def test_lof_of_equal_points_is_one():
    torch.testing.assert_close(local_outlier_factor(torch.full((2, 37, 5), 0.3)), torch.ones(2, 37))


@pytest.mark.parametrize('detector', ['cls_ratio', 'deviation', 'norm', 'lof'])
def test_all_detectors_have_the_same_interface(features_of, grid, detector):
    features = features_of(grid)
    found = DETECTORS[detector](features.patches, features.attn)
    assert found.shape == (3, grid[0] * grid[1]) and found.dtype == torch.float32 and found.isfinite().all()
    alone = torch.cat([DETECTORS[detector](features.patches[b:b + 1], features.attn[b:b + 1]) for b in range(3)])
    torch.testing.assert_close(found, alone)


def test_there_are_no_other_detectors():
    assert set(DETECTORS) == {'cls_ratio', 'deviation', 'norm', 'lof'}
