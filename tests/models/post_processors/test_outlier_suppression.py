import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import LocalOutlierFactor

from ovseg.models.post_processors import OutlierSuppression
from ovseg.models.post_processors.outlier_suppression import grid_neighbours, outlier_mask, suppress_outliers

TOP_KS = ['0', '1', '4', 'N', 'N+3']


def plain_neighbours(i, height, width):
    row, col = divmod(i, width)
    return [r * width + c for r in range(row - 1, row + 2) for c in range(col - 1, col + 2)
            if 0 <= r < height and 0 <= c < width and (r, c) != (row, col)]


def plain_cosine(a, b):
    lengths = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(x * x for x in b))
    return sum(x * y for x, y in zip(a, b)) / lengths if lengths else 0.0


def plain_suppression(patches, outliers, grid, temp):
    """``outliers``: per window a set of indices."""
    patches = patches.double().numpy()
    result = patches.copy()
    for b, window in enumerate(patches):
        for i in range(len(window)):
            near = plain_neighbours(i, *grid)
            if i in outliers[b] and near:
                weights = [math.exp(1 - plain_cosine(window[i], window[j])) for j in near]
                result[b, i] = sum(weight / sum(weights) * window[j] for weight, j in zip(weights, near))
            elif i not in outliers[b]:
                for j in near:
                    if j in outliers[b]:
                        result[b, i] -= temp * plain_cosine(window[j], window[i]) * window[j]
    return torch.from_numpy(result).float()


def plain_scores(features, detector):
    patches, attn = features.patches.double().numpy(), features.attn.double().numpy()
    scores = np.empty(patches.shape[:2])
    for b, window in enumerate(patches):
        if detector == 'lof':
            scores[b] = -LocalOutlierFactor(n_neighbors=30).fit(window).negative_outlier_factor_ if len(window) > 1 else 1
            continue
        for i, x in enumerate(window):
            if detector == 'cls_ratio':
                scores[b, i] = attn[b, 0, i + 1] / (attn[b, i + 1, i + 1] + 1e-8)
            else:
                centre = 0 if detector == 'norm' else sum(window) / len(window)
                scores[b, i] = math.sqrt(sum((x - centre) ** 2))
    return scores


def plain_outliers(features, top_k, detector='cls_ratio'):
    ranked = [sorted(range(len(row)), key=lambda i: -row[i]) for row in plain_scores(features, detector)]
    return [set(order[:top_k]) for order in ranked]


def mask_of(outliers, count):
    return torch.tensor([[i in window for i in range(count)] for window in outliers])


@pytest.mark.parametrize('top_k', TOP_KS)
@pytest.mark.parametrize('temp', [0.0, 0.1, 1.0])
def test_suppression_equals_a_plain_one(features_of, grid, top_k, temp):
    features = features_of(grid)
    count = grid[0] * grid[1]
    top_k = {'N': count, 'N+3': count + 3}.get(top_k) or int(top_k)
    expected = plain_suppression(features.patches, plain_outliers(features, top_k), grid, temp)
    found = OutlierSuppression(top_k, temp)(features)
    torch.testing.assert_close(found.patches, expected)
    assert found.cls_token is features.cls_token and found.attn is features.attn and found.grid_size == features.grid_size


@pytest.mark.filterwarnings('ignore:n_neighbors')
@pytest.mark.parametrize('detector', ['cls_ratio', 'deviation', 'norm', 'lof'])
def test_the_detector_chooses_the_outliers(features_of, grid, detector):
    features = features_of(grid)
    top_k = math.ceil(grid[0] * grid[1] / 5)
    if detector == 'lof' and grid == (2, 2):
        top_k = 4  # with k = N - 1 clamped neighbours, four patches can tie
    expected = plain_suppression(features.patches, plain_outliers(features, top_k, detector), grid, 0.4)
    if detector != 'cls_ratio':
        features = features.replace(attn=None)
    torch.testing.assert_close(OutlierSuppression(top_k, 0.4, detector)(features).patches, expected)


def test_detectors_disagree_on_these_features(features_of):
    features = features_of((5, 7))
    chosen = [plain_outliers(features, 7, detector) for detector in ('cls_ratio', 'deviation', 'norm', 'lof')]
    assert all(a != b for index, a in enumerate(chosen) for b in chosen[:index])


def test_only_the_cls_ratio_needs_attention():
    needs = {detector: OutlierSuppression(detector=detector).needs_attention
             for detector in ('cls_ratio', 'deviation', 'norm', 'lof')}
    assert needs == dict(cls_ratio=True, deviation=False, norm=False, lof=False)
    assert OutlierSuppression().needs_attention


def test_literal_values():
    """Four patches in a row; the second is the outlier."""
    patches = torch.tensor([[[1.0, 0.0], [0.0, 2.0], [3.0, 4.0], [5.0, 6.0]]])
    outliers = torch.tensor([[False, True, False, False]])
    found = suppress_outliers(patches, outliers, grid_neighbours((1, 4), patches.device), 0.5)
    far, near = math.exp(1 - 0.0), math.exp(1 - 0.8)  # 1 - cosine with the first, with the third
    mixed = [(far * 1 + near * 3) / (far + near), near * 4 / (far + near)]
    torch.testing.assert_close(found, torch.tensor([[[1.0, 0.0], mixed, [3.0, 4.0 - 0.5 * 0.8 * 2], [5.0, 6.0]]]))


def test_the_module_equals_its_functions(features_of):
    features = features_of((9, 4))
    attn = features.attn
    scores = torch.stack([attn[:, 0, i] / (attn[:, i, i] + 1e-8) for i in range(1, 37)], dim=1)
    expected = suppress_outliers(features.patches, outlier_mask(scores, 5), grid_neighbours((9, 4), attn.device), 0.3)
    assert torch.equal(OutlierSuppression(5, 0.3)(features).patches, expected)


def test_defaults_are_the_documented_ones(features_of):
    features = features_of((9, 4))
    expected = plain_suppression(features.patches, plain_outliers(features, 30), (9, 4), 0.1)
    torch.testing.assert_close(OutlierSuppression()(features).patches, expected)


def test_grid_neighbours_equal_a_plain_search(grid):
    found = grid_neighbours(grid, torch.device('cpu'))
    count = grid[0] * grid[1]
    assert found.shape == (count, count) and found.dtype == torch.bool
    assert [found[i].nonzero().flatten().tolist() for i in range(count)] == [plain_neighbours(i, *grid) for i in range(count)]


def test_outliers_of_literal_scores():
    scores = torch.tensor([[0.1, 0.9, 0.5], [7.0, -1.0, 3.0]])
    assert outlier_mask(scores, 2).tolist() == [[False, True, True], [True, False, True]]
    assert outlier_mask(scores, 0).sum() == 0
    assert outlier_mask(scores, 5).all()


def test_more_outliers_than_patches_are_all_patches(features_of, grid):
    features = features_of(grid)
    count = grid[0] * grid[1]
    found, expected = (OutlierSuppression(top_k)(features).patches for top_k in (count + 17, count))
    assert torch.equal(found, expected)


def test_a_lone_patch_is_left_alone(features_of):
    features = features_of((1, 1))
    for detector in ('cls_ratio', 'deviation', 'norm', 'lof'):
        assert torch.equal(OutlierSuppression(3, 1.0, detector)(features).patches, features.patches)


def test_zero_vectors_are_no_problem(features_of):
    features = features_of((5, 7))
    outliers = plain_outliers(features, 9)
    patches = features.patches.clone()
    for b, window in enumerate(outliers):
        patches[b, sorted(window)[::2]] = 0  # some outliers, and some others
        patches[b, [i for i in range(35) if i not in window][::4]] = 0
    features = features.replace(patches=patches)
    found = OutlierSuppression(9, 0.7)(features).patches
    assert found.isfinite().all()
    torch.testing.assert_close(found, plain_suppression(patches, outliers, (5, 7), 0.7))


@pytest.mark.parametrize('detector', ['cls_ratio', 'deviation', 'norm', 'lof'])
def test_all_zeros_stay_zeros(features_of, detector):
    features = features_of((5, 7))
    features = features.replace(patches=torch.zeros(3, 35, 11), attn=torch.zeros(3, 36, 36))
    assert torch.equal(OutlierSuppression(9, 0.7, detector)(features).patches, features.patches)


@settings(derandomize=True, max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), height=st.integers(1, 7), width=st.integers(1, 7), top_k=st.integers(0, 6),
       temp=st.floats(0, 1))
def test_only_outliers_and_their_neighbours_are_touched(features_of, seed, height, width, top_k, temp):
    features = features_of((height, width), seed=seed)
    outliers = plain_outliers(features, top_k)
    found = OutlierSuppression(top_k, temp)(features).patches
    for b, window in enumerate(outliers):
        touched = window.union(*(plain_neighbours(i, height, width) for i in window))
        rest = [i for i in range(height * width) if i not in touched]
        assert torch.equal(found[b, rest], features.patches[b, rest])


@settings(derandomize=True, max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), height=st.integers(1, 6), width=st.integers(1, 6), temp=st.floats(0, 1),
       dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float32]))
def test_a_top_k_of_zero_changes_no_bit(features_of, seed, height, width, temp, dtype):
    features = features_of((height, width), seed=seed)
    features = features.replace(patches=features.patches.to(dtype))
    assert torch.equal(OutlierSuppression(0, temp)(features).patches, features.patches)


@settings(derandomize=True, max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), height=st.integers(1, 6), width=st.integers(1, 6), top_k=st.integers(1, 9))
def test_a_temperature_of_zero_touches_outliers_only(features_of, seed, height, width, top_k):
    features = features_of((height, width), seed=seed)
    kept = ~mask_of(plain_outliers(features, top_k), height * width)
    assert torch.equal(OutlierSuppression(top_k, 0)(features).patches[kept], features.patches[kept])


# ---- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(('cfg', 'texts'), [
    (dict(detector='z_score'), ("detector='z_score'", 'cls_ratio, deviation, norm, lof')),
    (dict(top_k=-1), ('top_k=-1', 'integer >= 0')),
    (dict(top_k=2.5), ('top_k=2.5', 'integer >= 0')),
    (dict(top_k=True), ('top_k=True', 'integer >= 0')),
    (dict(top_k='3'), ("top_k='3'", 'integer >= 0')),
    (dict(top_k=None), ('top_k=None', 'integer >= 0')),
    (dict(contamination_temp=-0.01), ('contamination_temp=-0.01', '[0, 1]')),
    (dict(contamination_temp=1.01), ('contamination_temp=1.01', '[0, 1]')),
    (dict(contamination_temp=math.nan), ('contamination_temp=nan', '[0, 1]')),
], ids=str)
def test_bad_settings_are_refused(cfg, texts):
    with pytest.raises(ValueError) as caught:
        OutlierSuppression(**cfg)
    assert all(text in str(caught.value) for text in texts), str(caught.value)


@pytest.mark.parametrize('top_k', [0, 30])
def test_features_without_attention_are_refused(features_of, top_k):
    with pytest.raises(ValueError, match='OutlierSuppression needs the attention of the encoder'):
        OutlierSuppression(top_k)(features_of((2, 2)).replace(attn=None))
