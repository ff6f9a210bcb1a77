import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ovseg.models.dense.region_scope import merge_regions, rank, scope_attention
from tests.guided_loops import loop_merge, loop_scope

DRAWS = range(500)


def draw(seed, windows=3):
    """Features ``(B, N, C)`` and region numbers ``(B, N)``; clusters of features make some regions alike."""
    generator = np.random.default_rng(seed)
    patches, width = int(generator.integers(1, 30)), int(generator.integers(2, 6))
    regions = generator.integers(0, generator.integers(1, 12), (windows, patches)) * int(generator.integers(1, 99))
    centres = generator.normal(size=(4, width))
    features = centres[regions % 4] + generator.uniform(0, 0.6) * generator.normal(size=(windows, patches, width))
    return torch.from_numpy(features).float(), torch.from_numpy(regions)


def same_partition(a, b):
    """Return True if two lists of numbers are equal but for the names of the numbers."""
    pairs = set(zip(a.tolist(), b.tolist()))
    return len(pairs) == len({one for one, _ in pairs}) == len({other for _, other in pairs})


def test_ranks_equal_a_loop():
    for seed in DRAWS:
        _, numbers = draw(seed)
        expected = [[len({other for other in row if other < number}) for number in row] for row in numbers.tolist()]
        assert rank(numbers).tolist() == expected


def test_ranks_of_large_numbers_and_of_one_patch():
    assert rank(torch.tensor([[2 ** 62, 5, 2 ** 62 - 1, 5]])).tolist() == [[2, 0, 1, 0]]
    assert rank(torch.tensor([[7]])).tolist() == [[0]]


def test_merged_regions_equal_masks_and_scikit_learn():
    merged = 0
    for seed in DRAWS:
        features, numbers = draw(seed)
        unit = F.normalize(features, dim=-1)
        found = merge_regions(features, rank(numbers), 0.2)
        for one, own_unit, own in zip(found, unit, numbers):
            expected = loop_merge(own_unit, own, 0.2)
            assert same_partition(one, expected)
            assert torch.equal(one == 0, own == own.min())
            assert sorted(set(one.tolist())) == list(range(len(set(one.tolist()))))
            merged += len(set(own.tolist())) > len(set(one.tolist()))
    assert merged > 200  # or there would be nothing to get wrong


def test_regions_of_a_window_do_not_depend_on_the_others():
    for seed in DRAWS[:50]:
        features, numbers = draw(seed, windows=4)
        together = merge_regions(features, rank(numbers), 0.2)
        alone = [merge_regions(*window, 0.2) for window in zip(features.split(1), rank(numbers).split(1))]
        assert torch.equal(together, torch.cat(alone))


def test_a_chain_of_similar_regions_is_one():
    angles = torch.tensor([0.0, 0.0, 0.6, 1.2, 1.8, 3.1])  # cos 0.6 > 0.8
    features = torch.stack([angles.cos(), angles.sin()], dim=-1).unsqueeze(0)
    assert merge_regions(features, torch.tensor([[0, 1, 2, 3, 4, 5]]), 0.2).tolist() == [[0, 1, 1, 1, 1, 2]]
    assert merge_regions(features, torch.tensor([[0, 1, 2, 3, 4, 5]]), 0.1).tolist() == [[0, 1, 2, 3, 4, 5]]


def test_scope_equals_masks():
    for seed in DRAWS:
        features, numbers = draw(seed)
        ranks = rank(numbers)
        found = scope_attention(features, ranks, 4.0)
        for one, window, own in zip(found, F.normalize(features, dim=-1), ranks):
            similarity = window @ window.t()
            if (similarity - similarity.mean()).abs().min() < 1e-6:
                continue  # rounding decides
            torch.testing.assert_close(one, loop_scope(similarity, own, 4.0), atol=1e-5, rtol=1e-4)


def test_regions_of_another_window_link_none():
    features = torch.tensor([[[1.0, 0.0], [-1.0, 0.1], [0.0, 1.0], [0.0, 1.0]],
                             [[0.0, 1.0], [1.0, 0.1], [1.0, 0.0], [1.0, 0.2]]])
    regions = torch.tensor([[1, 2, 0, 0], [0, 1, 2, 3]])  # the first window has no region 3, to which both would be near
    assert merge_regions(features, regions, 1.5).tolist() == [[1, 2, 0, 0], [0, 1, 1, 1]]


@pytest.mark.parametrize('value', [0.0, 1.0])
@pytest.mark.parametrize('regions', [[0, 0, 0], [0, 1, 2]])
def test_patches_that_are_all_alike_attend_at_least_to_themselves(regions, value):
    weights = scope_attention(torch.full((1, 3, 7), value), torch.tensor([regions]), 4.0)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(1, 3))
    assert (weights.diagonal(dim1=1, dim2=2) > 0).all()


def test_strides_do_not_matter():
    features, numbers = draw(7)
    turned = [x.transpose(0, 1).contiguous().transpose(0, 1) for x in (features, numbers)]
    assert not any(x.is_contiguous() for x in turned)
    ranks = rank(turned[1])
    assert torch.equal(ranks, rank(numbers))
    assert torch.equal(merge_regions(turned[0], ranks, 0.2), merge_regions(features, ranks, 0.2))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_features_are_compared_in_float32(dtype):
    features, numbers = draw(3)
    half = features.to(dtype)
    assert torch.equal(merge_regions(half, rank(numbers), 0.2), merge_regions(half.float(), rank(numbers), 0.2))
    assert torch.equal(scope_attention(half, rank(numbers), 4.0), scope_attention(half.float(), rank(numbers), 4.0))
    expected = scope_attention(features, rank(numbers), 4.0)
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(scope_attention(features, rank(numbers), 4.0), expected)


def test_a_patch_that_is_not_finite_leaves_no_neighbour_with_other_numbers():
    features, regions = torch.randn(1, 7, 3), torch.tensor([[0, 0, 1, 1, 1, 2, 2]])
    features[0, 0] = torch.nan
    weights = scope_attention(features, regions, 4.0)
    assert weights[0, :2].isnan().any(dim=-1).all()  # the window's mean similarity is NaN
