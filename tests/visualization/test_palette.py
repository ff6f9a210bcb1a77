import colorsys
import math

import numpy as np
import pytest

from ovseg.visualization.palette import OKABE_ITO, READERS, distinct_colours


def lab(colour, reader):
    """CIELAB (D65) of one sRGB colour as a reader sees it, by the formulas of the CIE."""
    linear = [value / 255 / 12.92 if value / 255 <= 0.04045 else ((value / 255 + 0.055) / 1.055) ** 2.4 for value in colour]
    red, green, blue = (min(1, max(0, sum(a * b for a, b in zip(row, linear)))) for row in READERS[reader])
    x = (0.412453 * red + 0.357580 * green + 0.180423 * blue) / 0.950456
    y = 0.212671 * red + 0.715160 * green + 0.072169 * blue
    z = (0.019334 * red + 0.119193 * green + 0.950227 * blue) / 1.088754
    fx, fy, fz = (t ** (1 / 3) if t > (6 / 29) ** 3 else t / 3 * (29 / 6) ** 2 + 4 / 29 for t in (x, y, z))
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


def distance(first, second):
    return min(math.dist(lab(first, reader), lab(second, reader)) for reader in range(3))


def smallest_distance(colours):
    return min(distance(first, second) for index, first in enumerate(colours) for second in colours[:index])


def test_the_first_are_those_of_okabe_and_ito():
    assert distinct_colours(7) == list(map(list, OKABE_ITO))
    assert distinct_colours(2) == [[230, 159, 0], [86, 180, 233]]
    assert distinct_colours(0) == []


def test_a_colour_does_not_depend_on_how_many_there_are():
    many = distinct_colours(211)
    for count in (1, 8, 13, 47):
        assert distinct_colours(count) == many[:count]


def test_each_colour_is_as_far_from_those_before_it_as_any_of_the_grid():
    colours = distinct_colours(13)
    rng = np.random.default_rng(0)
    for count in (7, 12):
        nearest = min(distance(colours[count], before) for before in colours[:count])
        for _ in range(29):
            other = (17 * rng.integers(0, 16, 3)).tolist()
            if 25 < lab(other, 0)[0] < 93:
                assert min(distance(other, before) for before in colours[:count]) <= nearest + 0.1


@pytest.mark.parametrize('count, at_least', [(12, 16), (21, 16), (41, 10)])
def test_colour_blind_readers_tell_them_apart(count, at_least):
    assert smallest_distance(distinct_colours(count)) > at_least
    hues = [[round(255 * value) for value in colorsys.hsv_to_rgb(index / count, 0.8, 0.9)] for index in range(count)]
    assert smallest_distance(hues) < at_least / 2  # what a walk over the hues alone gives


def test_black_stays_free_for_the_background():
    assert min(distance(colour, (0, 0, 0)) for colour in distinct_colours(53)) > 16


def test_thousands_are_different_and_then_they_repeat():
    colours = distinct_colours(5003)
    assert len(colours) == 5003 and all(0 <= value <= 255 and isinstance(value, int) for colour in colours for value in colour)
    period = len(set(map(tuple, colours)))
    assert period > 2000
    assert colours[period:] == colours[:5003 - period]
