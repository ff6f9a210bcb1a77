import numpy as np
import pytest

from ovseg.demo.textures import CLASSES, PAINTERS, STUFF, THINGS, rotated_grid, scattered_points, smooth_noise


def paint(name, seed, height=53, width=97):
    return PAINTERS[name](np.random.default_rng(seed), height, width)


def test_eight_grounds_and_eight_things():
    assert len(STUFF) == len(THINGS) == 8
    assert list(CLASSES) == [*STUFF, *THINGS]
    assert len(set(CLASSES)) == 16


@pytest.mark.parametrize('name', CLASSES)
def test_a_seed_gives_one_picture_and_another_seed_another(name):
    first, again, other = paint(name, 3), paint(name, 3), paint(name, 5)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).mean() > 0.01


@pytest.mark.parametrize('name', CLASSES)
@pytest.mark.parametrize('size', [(53, 97), (1, 1), (1, 7), (101, 2)])
def test_pictures_are_float_rgb_around_0_to_1(name, size):
    for seed in range(5):
        picture = paint(name, seed, *size)
        assert picture.shape == (*size, 3)
        assert picture.dtype == np.float32
        assert picture.min() > -0.1 and picture.max() < 1.1


@pytest.mark.parametrize('name', CLASSES)
def test_pictures_have_a_pattern(name):
    assert paint(name, 7).std(axis=(0, 1)).max() > 0.01


def test_smooth_noise_is_smooth_in_the_direction_of_its_long_cells():
    noise = smooth_noise(np.random.default_rng(0), 211, 223, (2, 50))
    assert np.abs(np.diff(noise, axis=0)).mean() > 5 * np.abs(np.diff(noise, axis=1)).mean()


def test_rotated_grid_keeps_distances_between_pixels():
    u, v = rotated_grid(np.random.default_rng(0), 11, 13)
    for (y0, x0), (y1, x1) in [((0, 0), (10, 12)), ((3, 5), (3, 6)), ((7, 2), (1, 11))]:
        distance = np.hypot(u[y0, x0] - u[y1, x1], v[y0, x0] - v[y1, x1])
        np.testing.assert_allclose(distance, np.hypot(y0 - y1, x0 - x1), rtol=1e-3)


def test_scattered_points_measures_the_way_to_the_nearest_point():
    distance, label = scattered_points(np.random.default_rng(0), 41, 59, 11, 0.2)
    points = np.argwhere(distance == 0)
    assert len(points) > 10
    for y in range(0, 41, 5):
        for x in range(0, 59, 5):
            offsets = np.hypot(*(points - (y, x)).T)
            assert abs(distance[y, x] - offsets.min()) < 0.05 * offsets.min() + 0.05
            assert label[y, x] in [label[tuple(point)] for point, away in zip(points, offsets) if away < offsets.min() + 0.5]
