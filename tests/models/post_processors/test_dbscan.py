import math

import numpy as np
import pytest
import torch
from sklearn.cluster import DBSCAN

from ovseg.models.post_processors.dbscan import connect, dbscan, pairwise_distances


def partition(labels, chosen):
    """The groups that ``labels`` make of the ``chosen`` points, whatever they are called."""
    groups = {}
    for i in np.flatnonzero(chosen):
        groups.setdefault(labels[i], set()).add(int(i))
    return {frozenset(group) for group in groups.values()}


def assert_same_clusters(points, eps, min_samples, metric):
    """Same noise, same partition of core points; a border point is with one of the core points near it."""
    expected = DBSCAN(eps=eps, min_samples=min_samples, metric=metric).fit(points)
    found = dbscan(torch.tensor(points)[None], eps, min_samples, metric)[0].numpy()
    core = np.isin(np.arange(len(points)), expected.core_sample_indices_)
    np.testing.assert_array_equal(found == -1, expected.labels_ == -1)
    assert partition(found, core) == partition(expected.labels_, core)
    assert set(found) - {-1} == set(range(expected.labels_.max() + 1))
    for i in np.flatnonzero((found >= 0) & ~core):
        assert any(plain_distance(points[i], points[j], metric) <= eps * (1 + 1e-4)
                   for j in np.flatnonzero(core & (found == found[i])))
    return expected


def plain_distance(a, b, metric):
    a, b = a.astype(np.float64), b.astype(np.float64)
    if metric == 'euclidean':
        return math.sqrt(((a - b) ** 2).sum())
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    return 1 - (a @ b / lengths if lengths else 0.0)


def unit(points):
    return (points / np.linalg.norm(points, axis=-1, keepdims=True)).astype(np.float32)


def test_a_thousand_random_draws_equal_scikit_learn():
    rng = np.random.default_rng(0)
    clusters, with_noise, with_border = [], 0, 0
    for draw in range(1000):
        count, width, centres = rng.integers(1, 80), rng.integers(2, 7), rng.integers(1, 6)
        middle = rng.normal(size=(centres, width)) * rng.uniform(0.2, 2)
        points = middle[rng.integers(0, centres, count)] + rng.normal(size=(count, width)) * rng.uniform(0.05, 0.6)
        points = unit(points) if draw % 4 < 3 else points.astype(np.float32)
        expected = assert_same_clusters(points, float(rng.uniform(0.02, 1.2)), int(rng.integers(1, 12)),
                                        ['euclidean', 'cosine'][draw % 2])
        clusters.append(expected.labels_.max() + 1)
        with_noise += (expected.labels_ == -1).any()
        with_border += (expected.labels_ >= 0).sum() > len(expected.core_sample_indices_)
    spread = np.bincount(clusters)
    assert len(spread) > 5 and spread[:4].min() > 50 and with_noise > 200 and with_border > 200


@pytest.mark.parametrize(('metric', 'eps'), [('euclidean', 0.7), ('cosine', 0.1)])
def test_windows_in_a_batch_equal_windows_alone(metric, eps):
    points = torch.randn(5, 43, 3)
    found = dbscan(points, eps, 4, metric)
    alone = [dbscan(window[None], eps, 4, metric)[0] for window in points]
    assert found.dtype == torch.int64 and found.shape == (5, 43)
    assert torch.equal(found, torch.stack(alone))
    assert len({tuple(window.tolist()) for window in found}) == 5


@pytest.mark.parametrize('min_samples', [1, 2, 3])
def test_a_path_of_97_points_is_one_cluster(min_samples):
    order = np.random.default_rng(0).permutation(97)
    points = np.stack([order, np.zeros(97)], axis=1).astype(np.float32)
    found = dbscan(torch.tensor(points)[None], 1.2, min_samples)[0]
    assert (found == 0).all()
    assert_same_clusters(points, 1.2, min_samples, 'euclidean')


def test_a_path_on_the_sphere_is_one_cluster():
    angle = np.random.default_rng(0).permutation(97) * (math.pi / 97)
    points = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    assert (dbscan(torch.tensor(points)[None], 1.2 * math.pi / 97, 2)[0] == 0).all()
    assert (dbscan(torch.tensor(points)[None], 1 - math.cos(1.2 * math.pi / 97), 2, 'cosine')[0] == 0).all()


@pytest.mark.parametrize('gap', [1, 31, 32, 48, 63, 64, 65])
def test_a_gap_cuts_the_path_in_two(gap):
    """Numbered by position: no label may jump the gap, whatever number of doublings it takes to get there."""
    position = np.arange(97) + 5.0 * (np.arange(97) >= gap)
    found = dbscan(torch.tensor(np.stack([position, 0 * position], axis=1).astype(np.float32))[None], 1.2, 1)[0]
    assert found.tolist() == [0] * gap + [1] * (97 - gap)


def test_literal_clusters():
    """Two groups, a border point (3.9) that is no core point and connects nothing, and noise."""
    points = torch.tensor([[9.0], [1.0], [2.0], [3.0], [3.9], [20.0], [9.5], [8.5]]).expand(8, 2).clone()
    points[:, 1] = 0
    assert dbscan(points[None], 1.1, 3)[0].tolist() == [0, 1, 1, 1, 1, -1, 0, 0]


def test_border_points_do_not_connect_clusters():
    """0 1 2 | 3 | 4 5 6 on a line, the middle one in reach of both but with too few neighbours."""
    points = np.array([[0], [0.1], [0.2], [1.2], [2.2], [2.3], [2.4]], np.float32)
    found = dbscan(torch.tensor(points)[None], 1.01, 4)[0].numpy()
    expected = assert_same_clusters(points, 1.01, 4, 'euclidean')
    assert expected.labels_.max() == found.max()


@pytest.mark.parametrize('metric', ['euclidean', 'cosine'])
@pytest.mark.parametrize('eps', [0.3, 1e-2, 1e-3, 3e-4, 1e-5])
@pytest.mark.parametrize('width', [5, 31])
def test_duplicates_equal_scikit_learn(metric, eps, width):
    rng = np.random.default_rng(0)
    for _ in range(5):
        points = np.concatenate([np.repeat(rng.normal(size=(4, width)), 5, axis=0), rng.normal(size=(3, width))])
        expected = assert_same_clusters(unit(points), eps, 3, metric)
        assert expected.labels_.max() >= 0 and (eps > 0.01 or expected.labels_.max() == 3)


@pytest.mark.parametrize('metric', ['euclidean', 'cosine'])
def test_equal_points_are_one_cluster(metric):
    points = torch.full((2, 17, 5), 0.3)
    assert (dbscan(points, 1e-3, 17, metric) == 0).all()
    assert (dbscan(points, 1e-3, 18, metric) == -1).all()


@pytest.mark.parametrize('metric', ['euclidean', 'cosine'])
@pytest.mark.parametrize('eps', [0.05, 0.5, 0.999, 1.05])
def test_zero_vectors_equal_scikit_learn(metric, eps):
    points = np.random.default_rng(1).normal(size=(23, 5))
    points[:8] = points[8] + 0.1 * points[:8]
    points = unit(points)
    points[11:17] = 0
    for min_samples in (1, 2, 4, 9):
        assert_same_clusters(points, eps, min_samples, metric)


@pytest.mark.parametrize('metric', ['euclidean', 'cosine'])
def test_a_lone_point(metric):
    for points in (torch.ones(2, 1, 3), torch.zeros(2, 1, 3)):
        assert dbscan(points, 0.5, 1, metric).tolist() == [[0], [0]]
        assert dbscan(points, 0.5, 2, metric).tolist() == [[-1], [-1]]


def test_a_point_counts_itself():
    points = torch.tensor([[[0.0], [1.0], [5.0]]])
    assert dbscan(points, 1.5, 2).tolist() == [[0, 0, -1]]
    assert dbscan(points, 1.5, 3).tolist() == [[-1, -1, -1]]
    assert dbscan(points, 1.5, 1).tolist() == [[0, 0, 1]]


def test_a_distance_of_exactly_eps_is_within():
    points = torch.tensor([[[0.0], [2.0], [4.0]]])
    assert dbscan(points, 2.0, 3).tolist() == [[0, 0, 0]]


@pytest.mark.parametrize('metric', ['euclidean', 'cosine'])
def test_distances_equal_plain_ones(metric):
    points = torch.randn(2, 13, 5)
    points[:, 4] = 0
    expected = [[[plain_distance(a, b, metric) for b in window] for a in window] for window in points.numpy()]
    off = ~torch.eye(13, dtype=torch.bool)
    torch.testing.assert_close(pairwise_distances(points, metric)[:, off], torch.tensor(expected).double()[:, off],
                               atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('metric', ['euclidean', 'cosine'])
def test_half_precision_points_are_clustered_as_float32_ones(dtype, metric):
    points = (100 * torch.randn(3, 37, 11)).to(dtype)
    eps = {'euclidean': 380.0, 'cosine': 0.6}[metric]
    found = dbscan(points, eps, 5, metric)
    assert torch.equal(found, dbscan(points.float(), eps, 5, metric))
    assert found.max() > -1 and found.min() == -1


def test_points_are_not_written_to_and_need_not_be_contiguous():
    points = torch.randn(4, 3, 29).transpose(1, 2)
    before = points.clone()
    found = dbscan(points, 0.8, 4)
    assert torch.equal(points, before)
    assert torch.equal(found, dbscan(points.contiguous(), 0.8, 4))


@pytest.mark.parametrize('min_samples', [1, 2, 4])
def test_known_distances_equal_scikit_learn(min_samples):
    generator = np.random.default_rng(min_samples)
    for _ in range(50):
        distances = generator.uniform(size=(17, 17))
        distances = np.triu(distances, 1) + np.triu(distances, 1).T
        expected = DBSCAN(eps=0.15, min_samples=min_samples, metric='precomputed').fit(distances)
        near = torch.from_numpy(distances <= 0.15)
        near.fill_diagonal_(False)  # a point is near to itself whether it says so or not
        found, = connect(near.unsqueeze(0), min_samples).numpy()
        core = np.isin(np.arange(17), expected.core_sample_indices_)
        np.testing.assert_array_equal(found == -1, expected.labels_ == -1)
        assert partition(found, core) == partition(expected.labels_, core)
