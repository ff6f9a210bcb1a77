import math

import pytest
import torch

from ovseg.models.refiners.pamr import PAMR, affinity, propagate
from ovseg.registry import REFINERS

STEPS = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)]


def pixel(maps, channel, y, x):
    """Beyond the border the nearest pixel."""
    return maps[channel][min(max(y, 0), len(maps[0]) - 1)][min(max(x, 0), len(maps[0][0]) - 1)]


def loop_affinity(image, dilations):
    """Weights of the neighbours of every pixel, written out pixel by pixel on nested lists."""
    channels, height, width = len(image), len(image[0]), len(image[0][0])
    weights = [[[0.0] * width for _ in range(height)] for _ in range(8 * len(dilations))]
    for y in range(height):
        for x in range(width):
            logits = [0.0] * (8 * len(dilations))
            for c in range(channels):
                around = [pixel(image, c, y + d * i, x + d * j) for d in dilations for i in (-1, 0, 1) for j in (-1, 0, 1)]
                mean = sum(around) / len(around)
                std = math.sqrt(sum((value - mean) ** 2 for value in around) / (len(around) - 1))
                near = [pixel(image, c, y + d * i, x + d * j) for d in dilations for i, j in STEPS]
                for n, value in enumerate(near):
                    logits[n] -= abs(image[c][y][x] - value) / (1e-8 + 0.1 * std) / channels
            total = sum(math.exp(value) for value in logits)
            for n, value in enumerate(logits):
                weights[n][y][x] = math.exp(value) / total
    return weights


def loop_propagate(scores, weights, dilations, num_iter):
    for _ in range(num_iter):
        scores = [[[sum(weights[n][y][x] * pixel(scores, q, y + d * i, x + d * j)
                        for n, (d, (i, j)) in enumerate((d, step) for d in dilations for step in STEPS))
                    for x in range(len(scores[0][0]))] for y in range(len(scores[0]))] for q in range(len(scores))]
    return scores


@pytest.mark.parametrize(('size', 'dilations', 'num_iter'), [
    ((7, 11), (1,), 1), ((11, 7), (2, 3), 3), ((5, 13), (8, 16), 2), ((1, 7), (1, 2), 2), ((7, 1), (3,), 2)])
def test_refined_scores_equal_the_loop(size, dilations, num_iter):
    image, scores = torch.randn(3, *size), torch.randn(2, *size)
    expected_weights = loop_affinity(image.double().tolist(), dilations)
    weights = affinity(image, dilations)
    torch.testing.assert_close(weights, torch.tensor(expected_weights), atol=1e-5, rtol=1e-4)
    expected = loop_propagate(scores.double().tolist(), expected_weights, dilations, num_iter)
    torch.testing.assert_close(propagate(scores, weights, dilations, num_iter), torch.tensor(expected), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(PAMR(num_iter, dilations).of_image(image)(scores), torch.tensor(expected), atol=1e-5, rtol=1e-4)


def test_one_colour_means_the_plain_mean_of_the_neighbours():
    scores = torch.randn(2, 7, 11)
    found = PAMR(1, (1,)).of_image(torch.full((3, 7, 11), 0.3))(scores)
    neighbours = [scores[:, 3 + y, 5 + x] for y, x in STEPS]
    torch.testing.assert_close(found[:, 3, 5], torch.stack(neighbours).mean(0))


def test_weights_sum_to_one_and_equal_scores_stay_equal():
    image = torch.randn(3, 13, 17)
    torch.testing.assert_close(affinity(image, (1, 5)).sum(0), torch.ones(13, 17))
    torch.testing.assert_close(PAMR().of_image(image)(torch.full((2, 13, 17), 0.37)), torch.full((2, 13, 17), 0.37))


def test_each_query_is_refined_on_its_own_and_nothing_is_written_to():
    image, scores = torch.randn(3, 11, 13), torch.randn(5, 11, 13)
    copies = image.clone(), scores.clone()
    refine = PAMR(3, (2, 5)).of_image(image)
    alone = torch.cat([refine(scores[q:q + 1]) for q in range(5)])
    torch.testing.assert_close(refine(scores), alone)
    assert torch.equal(image, copies[0]) and torch.equal(scores, copies[1])


def test_non_contiguous_input():
    image, scores = torch.randn(13, 11, 3).permute(2, 1, 0), torch.randn(11, 13, 5).permute(2, 0, 1)
    torch.testing.assert_close(PAMR().of_image(image)(scores), PAMR().of_image(image.contiguous())(scores.contiguous()))


def test_several_images_at_once_equal_one_by_one():
    images, scores = torch.randn(2, 3, 3, 11, 13), torch.randn(2, 3, 5, 11, 13)
    weights = affinity(images, (2, 5))
    found = propagate(scores, weights, (2, 5), 3)
    assert weights.shape == (2, 3, 16, 11, 13) and found.shape == scores.shape
    for row, column in [(row, column) for row in range(2) for column in range(3)]:
        alone = affinity(images[row, column], (2, 5))
        torch.testing.assert_close(weights[row, column], alone)
        torch.testing.assert_close(found[row, column], propagate(scores[row, column], alone, (2, 5), 3))


def test_equal_neighbours_on_a_large_offset_keep_their_distance_to_the_pixel():
    """The deviation is that of the differences: sums of squares of the values themselves would have lost it."""
    image = torch.full((1, 7, 7), 1000.0)
    image[0, 3, 3] += 0.25
    expected = torch.tensor(loop_affinity(image.double().tolist(), (1,)))
    torch.testing.assert_close(affinity(image, (1,)), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_images_give_float32_weights(dtype):
    image = torch.randn(3, 11, 13).to(dtype)
    assert affinity(image, (1, 2)).dtype == torch.float32
    torch.testing.assert_close(affinity(image, (1, 2)), affinity(image.float(), (1, 2)))


def test_defaults_are_those_of_the_published_numbers():
    refiner = REFINERS.build(dict(type='PAMR'))
    assert (refiner.num_iter, refiner.dilations) == (10, (8, 16))


@pytest.mark.parametrize(('cfg', 'parts'), [
    (dict(num_iter=0), ('num_iter=0', '>= 1')), (dict(num_iter=1.5), ('num_iter=1.5',)),
    (dict(dilations=()), ('dilations=()',)),
    (dict(dilations=8), ('dilations=8', 'list')), (dict(dilations=(8, 0)), ('dilations=0', '>= 1'))], ids=str)
def test_bad_numbers_are_refused(cfg, parts):
    with pytest.raises(ValueError) as error:
        PAMR(**cfg)
    assert all(part in str(error.value) for part in parts)
