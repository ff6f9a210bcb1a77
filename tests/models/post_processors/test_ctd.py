import inspect
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import DBSCAN

from ovseg.models import DenseFeatures
from ovseg.models.post_processors import CTD
from ovseg.models.post_processors.ctd import cluster_debias


def plain_cluster_debias(patches, cls_token, labels, factor, normalize_cls):
    patches, cls_token = patches.double().numpy(), cls_token.double().numpy()
    result = patches.copy()
    for b, window in enumerate(patches):
        length = math.sqrt(sum(value ** 2 for value in cls_token[b]))
        direction = cls_token[b] / length if normalize_cls and length else cls_token[b]
        for k in set(labels[b].tolist()) - {-1}:
            members = [i for i in range(len(window)) if labels[b][i] == k]
            prototype = sum(window[i] for i in members) / len(members)
            lengths = math.sqrt(sum(value ** 2 for value in prototype)) * length
            cosine = sum(x * y for x, y in zip(prototype, cls_token[b])) / lengths if lengths else 0.0
            for i in members:
                result[b, i] = window[i] - factor * cosine * direction
    return torch.from_numpy(result).float()


def plain_labels(patches, eps, min_samples, metric):
    labels = []
    for window in patches.double().numpy():
        lengths = np.linalg.norm(window, axis=1, keepdims=True)
        unit = window / np.where(lengths == 0, 1, lengths)
        labels.append(DBSCAN(eps=eps, min_samples=min_samples, metric=metric).fit(unit).labels_)
    return np.stack(labels)


@pytest.fixture(scope='module')
def clustered(features_of):
    """Factory of features whose windows hold three groups of patches and some that belong to none."""
    def build(grid, seed=0):
        features = features_of(grid, seed=seed)
        generator = torch.Generator().manual_seed(seed + 1)
        count = grid[0] * grid[1]
        centres = 3 * torch.randn(3, 3, 11, generator=generator)
        group = torch.randint(0, 4, (3, count), generator=generator)
        patches = 0.4 * features.patches + centres.gather(1, group.clamp(max=2).unsqueeze(-1).expand(-1, -1, 11))
        apart = 3 * torch.randn(3, count, 11, generator=generator)
        return features.replace(patches=torch.where((group == 3).unsqueeze(-1), apart, patches))
    return build


@pytest.mark.parametrize('normalize_cls', [True, False])
@pytest.mark.parametrize(('metric', 'eps', 'min_samples', 'factor'), [
    ('euclidean', 0.6, 3, 1.5), ('euclidean', 1.1, 11, 0.7), ('euclidean', 0.6, 1, 0.7), ('cosine', 0.2, 4, 1.5),
    ('cosine', 0.2, 2, 3.1)])
def test_ctd_equals_a_plain_one(clustered, grid, metric, eps, min_samples, factor, normalize_cls):
    features = clustered(grid)
    labels = plain_labels(features.patches, eps, min_samples, metric)
    found = CTD(metric, eps, min_samples, factor, normalize_cls)(features)
    torch.testing.assert_close(found.patches, plain_cluster_debias(features.patches, features.cls_token, labels, factor,
                                                                   normalize_cls))
    assert found.cls_token is features.cls_token and found.attn is features.attn and found.grid_size == features.grid_size


def test_these_windows_hold_clusters_and_noise(clustered):
    labels = plain_labels(clustered((5, 7)).patches, 0.6, 3, 'euclidean')
    assert (labels == -1).any(axis=1).all() and labels.max(axis=1).min() >= 1


def test_defaults_are_the_documented_ones(clustered):
    parameters = inspect.signature(CTD).parameters.values()
    assert {parameter.name: parameter.default for parameter in parameters} == dict(
        metric='euclidean', eps=1.1, min_samples=11, factor=1.5, normalize_cls=True)
    features = clustered((9, 4))
    labels = plain_labels(features.patches, 1.1, 11, 'euclidean')
    assert (labels >= 0).any()
    torch.testing.assert_close(CTD()(features).patches,
                               plain_cluster_debias(features.patches, features.cls_token, labels, 1.5, True))


def test_literal_values():
    """Patches 0 and 2 form a cluster with the mean (3, 4); patch 1 is noise; patch 3 is alone in its cluster."""
    patches = torch.tensor([[[2.0, 4.0], [7.0, 7.0], [4.0, 4.0], [0.0, 3.0]]])
    cls_token, labels = torch.tensor([[0.0, 5.0]]), torch.tensor([[0, -1, 0, 1]])
    found = cluster_debias(patches, cls_token, labels, factor=0.5)
    torch.testing.assert_close(found, torch.tensor([[[2.0, 3.6], [7.0, 7.0], [4.0, 3.6], [0.0, 2.5]]]))
    found = cluster_debias(patches, cls_token, labels, factor=0.5, normalize_cls=False)
    torch.testing.assert_close(found, torch.tensor([[[2.0, 2.0], [7.0, 7.0], [4.0, 2.0], [0.0, 0.5]]]))


@pytest.mark.parametrize('normalize_cls', [True, False])
def test_the_function_takes_any_labels(features_of, grid, normalize_cls):
    features = features_of(grid)
    labels = torch.randint(-1, 4, features.patches.shape[:2])
    found = cluster_debias(features.patches, features.cls_token, labels, 0.9, normalize_cls)
    torch.testing.assert_close(found, plain_cluster_debias(features.patches, features.cls_token, labels, 0.9, normalize_cls))


def test_the_module_equals_its_functions(clustered):
    features = clustered((5, 7))
    module = CTD('cosine', 0.2, 3, 0.8, False)
    labels = module.cluster(features.patches)
    assert torch.equal(module(features).patches, cluster_debias(features.patches, features.cls_token, labels, 0.8, False))


@pytest.mark.parametrize(('metric', 'eps'), [('euclidean', 0.6), ('cosine', 0.2)])
def test_clusters_are_those_of_normalised_patches(clustered, metric, eps):
    features = clustered((9, 4))
    found = CTD(metric, eps, 3).cluster(features.patches * torch.linspace(0.1, 30, 36).view(1, 36, 1))
    expected = plain_labels(features.patches, eps, 3, metric)
    assert found.shape == (3, 36) and found.dtype == torch.int64
    np.testing.assert_array_equal(found == -1, expected == -1)
    for window, reference in zip(found.numpy(), expected):
        renamed = set(zip(window, reference))
        assert len(renamed) == len(set(window)) == len(set(reference))


def test_prototypes_are_means_of_raw_embeddings():
    """A long and a short patch of one cluster: the long one draws the prototype to its side."""
    features = DenseFeatures(torch.tensor([[[10.0, 0.0], [0.6, 0.8]]]), torch.tensor([[0.0, 1.0]]), None, (1, 2))
    found = CTD(eps=1.1, min_samples=2, factor=1.0)(features).patches
    cosine = 0.4 / math.hypot(5.3, 0.4)
    torch.testing.assert_close(found, torch.tensor([[[10.0, -cosine], [0.6, 0.8 - cosine]]]))




@pytest.mark.parametrize('metric', ['euclidean', 'cosine'])
@pytest.mark.parametrize('normalize_cls', [True, False])
def test_zero_vectors_are_no_problem(clustered, metric, normalize_cls):
    features = clustered((5, 7))
    patches, cls_token = features.patches.clone(), features.cls_token.clone()
    patches[:, ::4] = 0
    cls_token[1] = 0
    labels = plain_labels(patches, 0.2, 3, metric)
    assert (labels[:, 0] >= 0).all() or metric == 'cosine'
    found = CTD(metric, 0.2, 3, 1.5, normalize_cls)(features.replace(patches=patches, cls_token=cls_token)).patches
    torch.testing.assert_close(found, plain_cluster_debias(patches, cls_token, labels, 1.5, normalize_cls))
    assert torch.equal(found[1], patches[1])


def test_a_cluster_whose_mean_is_zero_is_unchanged():
    patches = torch.tensor([[[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]]])
    found = cluster_debias(patches, torch.tensor([[0.3, 2.0]]), torch.zeros(1, 4, dtype=torch.int64), 1.5)
    assert torch.equal(found, patches)


# ---- invariants ------------------------------------------------------------------------------------------------------


@settings(derandomize=True, max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), eps=st.floats(0.05, 1.2), min_samples=st.integers(1, 9), factor=st.floats(0, 5),
       dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float32]))
def test_noise_keeps_every_bit(clustered, seed, eps, min_samples, factor, dtype):
    features = clustered((4, 5), seed)
    features = features.replace(patches=features.patches.to(dtype), cls_token=features.cls_token.to(dtype))
    noise = torch.tensor(plain_labels(features.patches.float(), eps, min_samples, 'euclidean') == -1)
    found = CTD('euclidean', eps, min_samples, factor)(features).patches
    assert torch.equal(found[noise], features.patches[noise])


@settings(derandomize=True, max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), eps=st.floats(0.05, 1.2), min_samples=st.integers(1, 9), normalize_cls=st.booleans())
def test_a_factor_of_zero_changes_no_bit(clustered, seed, eps, min_samples, normalize_cls):
    features = clustered((4, 5), seed)
    assert torch.equal(CTD('cosine', eps, min_samples, 0, normalize_cls)(features).patches, features.patches)


@settings(derandomize=True, max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.floats(0.01, 100))
def test_scaling_the_cls_token_scales_what_is_removed(clustered, seed, scale):
    features = clustered((4, 5), seed)
    labels = torch.randint(-1, 3, (3, 20), generator=torch.Generator().manual_seed(seed))
    removed, more = (features.patches - cluster_debias(features.patches, cls_token, labels, 0.7, normalize_cls=False)
                     for cls_token in (features.cls_token, scale * features.cls_token))
    torch.testing.assert_close(more, scale * removed, atol=1e-5 * (1 + scale), rtol=1e-4)
    same, other = (cluster_debias(features.patches, cls_token, labels, 0.7)
                   for cls_token in (features.cls_token, scale * features.cls_token))
    torch.testing.assert_close(same, other, atol=1e-5, rtol=1e-5)


@settings(derandomize=True, max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_every_patch_of_a_cluster_loses_the_same(clustered, seed):
    features = clustered((4, 5), seed)
    module = CTD('euclidean', 0.6, 3)
    labels, removed = module.cluster(features.patches), features.patches - module(features).patches
    for b in range(3):
        for k in range(int(labels[b].max()) + 1):
            group = removed[b, labels[b] == k]
            torch.testing.assert_close(group, group[:1].expand_as(group), atol=1e-5, rtol=0)


# ---- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(('cfg', 'texts'), [
    (dict(metric='manhattan'), ("metric='manhattan'", 'euclidean, cosine')),
    (dict(eps=0), ('eps=0', 'positive')),
    (dict(eps=-1.1), ('eps=-1.1', 'positive')),
    (dict(eps=math.nan), ('eps=nan', 'positive')),
    (dict(eps='1'), ("eps='1'", 'number')),
    (dict(min_samples=0), ('min_samples=0', 'integer >= 1')),
    (dict(min_samples=-3), ('min_samples=-3', 'integer >= 1')),
    (dict(min_samples=2.5), ('min_samples=2.5', 'integer >= 1')),
    (dict(min_samples=True), ('min_samples=True', 'integer >= 1')),
    (dict(factor=-1.5), ('factor=-1.5', '>= 0')),
    (dict(factor=math.nan), ('factor=nan', '>= 0')),
], ids=str)
def test_bad_settings_are_refused(cfg, texts):
    with pytest.raises(ValueError) as caught:
        CTD(**cfg)
    assert all(text in str(caught.value) for text in texts), str(caught.value)
