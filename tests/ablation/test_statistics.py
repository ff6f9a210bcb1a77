import numpy as np
import pytest
from scipy.stats import bootstrap

from ovseg.ablation.statistics import delta_interval, mean_iou_error, resampling_weights


@pytest.fixture
def areas():
    """Intersections and unions of two settings on 13 images and 5 classes.

    Class 3 is in two images only; the second setting sees it in another one too.
    """
    rng = np.random.default_rng(7)
    union = rng.integers(50, 200, (2, 13, 5))
    union[:, :, 3] = 0
    union[:, 2:4, 3] = 31
    intersect = (union * rng.uniform(0.2, 0.9, (1, 13, 5)) * rng.uniform(0.8, 1, (2, 13, 5))).astype(int)
    union[1, 7, 3] = 17
    return [(intersect[i], union[i]) for i in range(2)]


def mean_iou(intersect, union, drawn, absent=None):
    """By a loop over classes; ``drawn`` are indices of images."""
    shares = []
    for k in range(intersect.shape[1]):
        hits, pixels = sum(intersect[i, k] for i in drawn), sum(union[i, k] for i in drawn)
        if pixels:
            shares.append(hits / pixels)
        elif absent is not None:
            shares.append(absent / 100)
    return 100 * sum(shares) / len(shares)


def test_every_resample_draws_as_many_images_as_there_are():
    weights = resampling_weights(13, 1009)
    assert weights.shape == (1009, 13) and (weights.sum(axis=1) == 13).all() and (weights % 1 == 0).all()
    assert abs(weights.mean(axis=0) - 1).max() < 0.15 and len(np.unique(weights, axis=0)) > 900
    np.testing.assert_array_equal(weights, resampling_weights(13, 1009))
    assert (weights != resampling_weights(13, 1009, seed=1)).any()


@pytest.mark.parametrize('absent', [None, 0, 100])
def test_interval_is_that_of_a_loop_over_resamples(absent, areas):
    baseline, setting = areas
    differences = []
    for row in resampling_weights(13, 211):
        drawn = [i for i in range(13) for _ in range(int(row[i]))]
        differences.append(mean_iou(*setting, drawn, absent) - mean_iou(*baseline, drawn, absent))
    found = delta_interval(baseline, setting, *([] if absent is None else [absent]), resamples=211)
    assert found == pytest.approx(np.quantile(differences, [0.025, 0.975]), abs=1e-10)
    assert found[0] < found[1]


def test_interval_is_near_that_of_scipy(areas):
    def difference(index):
        return mean_iou(*areas[1], index) - mean_iou(*areas[0], index)

    reference = bootstrap((np.arange(13),), difference, vectorized=False, method='percentile', n_resamples=3000,
                          random_state=3).confidence_interval
    found = delta_interval(*areas, resamples=20000)
    assert found == pytest.approx((reference.low, reference.high), abs=0.15 * (reference.high - reference.low))


def test_pairs_make_it_narrower_than_the_spread_of_images():
    """All images gain the same share, whatever they are: drawn together, the gain is certain."""
    union = np.full((17, 3), 100)
    before = np.random.default_rng(1).integers(10, 80, (17, 3))
    low, high = delta_interval((before, union), (before + 7, union))
    assert low == pytest.approx(7, abs=1e-9) and high == pytest.approx(7, abs=1e-9)


def test_equal_settings_differ_by_nothing(areas):
    assert delta_interval(areas[0], areas[0]) == (0, 0)


def test_one_image_says_nothing_of_others(areas):
    one = tuple(x[:1] for x in areas[0])
    assert np.isnan(delta_interval(one, one)).all()


def test_intervals_cover_the_true_difference_as_often_as_they_say():
    """200 data sets of 29 images of one class, the true difference of shares being 5 points."""
    rng = np.random.default_rng(11)
    union = np.full((29, 1), 1000)
    covered = 0
    for _ in range(200):
        quality = rng.uniform(200, 800, (29, 1))
        before, after = quality + rng.normal(0, 90, (29, 1)), quality + 50 + rng.normal(0, 90, (29, 1))
        low, high = delta_interval((before, union), (after, union), resamples=500)
        covered += low <= 5 <= high
    assert 0.87 <= covered / 200 <= 0.98


@pytest.mark.parametrize('absent', [None, 0])
def test_error_is_the_deviation_of_a_loop_over_resamples_less_that_of_a_finite_set(absent, areas):
    intersect, union = areas[0]
    scores = [mean_iou(intersect, union, np.repeat(np.arange(13), row.astype(int)), absent)
              for row in resampling_weights(13, 211)]
    found = mean_iou_error(intersect, union, 29, *([np.nan] if absent is None else [absent]), resamples=211)
    assert found == pytest.approx(np.std(scores) * (16 / 29) ** 0.5, abs=1e-10) and found > 0


def test_error_of_all_images_and_of_one(areas):
    assert mean_iou_error(*areas[0], 13) == 0
    assert np.isnan(mean_iou_error(*(x[:1] for x in areas[0]), 13))


def test_error_is_that_of_samples_without_replacement():
    """400 samples of 31 of 97 images of 3 classes."""
    rng = np.random.default_rng(5)
    union = rng.integers(500, 1000, (97, 3))
    intersect = (union * rng.uniform(0.1, 0.9, (97, 1))).astype(int)
    samples = [rng.choice(97, 31, replace=False) for _ in range(400)]
    scores = [mean_iou(intersect, union, sample) for sample in samples]
    errors = [mean_iou_error(intersect[sample], union[sample], 97, resamples=300) for sample in samples[:40]]
    assert np.mean(errors) == pytest.approx(np.std(scores), rel=0.12)
