"""LPOSS+ against its own code, a graph written as loops, and a dense solve."""
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ovseg.models import neighbourhoods
from ovseg.models.decoder import Decoder
from ovseg.models.neighbourhoods import sums_of_neighbours
from ovseg.models.post_processors.lposs import LPOSS
from ovseg.models.refiners import LPOSSPlus, Refiner
from ovseg.models.refiners.lposs_plus import pixel_weights, rgb_to_lab
from ovseg.registry import REFINERS
from tests.method_goldens import arrays, assert_same_labels, golden_dino, golden_segmentor, labels_of
from tests.propagation_loops import loop_conjugate_gradients, loop_pixel_graph

WINDOWS = dict(crop=64, stride=32)


@pytest.fixture
def golden(tmp_path):
    return golden_segmentor('lposs', dict(attention=dict(type='MaskCLIP'), ignore_residual=False),
                            windows=dict(**WINDOWS, batch_size=1), post_processors=[LPOSS(golden_dino(tmp_path, 'v'))],
                            upsampler=dict(type='BilinearUpsampler', scale=2, normalize=True),
                            decoder=dict(refiner=dict(type='LPOSSPlus')))


@pytest.mark.parametrize(('batch_size', 'images', 'decoder'), [
    (1, 1, {}), (64, 2, dict(memory_mb=1)), (64, 1, dict(area_thd=0.0))])
def test_labels_of_its_own_code(golden, batch_size, images, decoder):
    segmentor = golden.variant(windows=dict(**WINDOWS, batch_size=batch_size),
                               decoder=dict(refiner=dict(type='LPOSSPlus'), **decoder))
    for labels in labels_of(segmentor, images):
        assert_same_labels(labels, arrays('lposs')['segment/lpossplus-repo/crop64-stride32/pred'][0])


def test_scores_of_its_own_code(golden):
    image, = arrays('inputs')['segment_image']
    windows, texts = golden.scored(*golden.window_patches([image]))
    found = golden.decoder.class_scores(golden.decoder_image(image), windows, texts, (210, 281))
    expected = arrays('lposs')['segment/lpossplus-repo/crop64-stride32/scores']
    assert (found - expected).abs().max() < 1e-3 * expected.abs().max()  # they are stored in float16


def test_it_refines_at_the_size_of_the_input():
    assert Decoder(refiner=LPOSSPlus()).at_input_size and Decoder(refiner=dict(type='LPOSSPlus')).wants_rgb
    assert not Decoder(refiner=dict(type='PAMR')).wants_rgb and isinstance(LPOSSPlus(), Refiner)


@pytest.mark.parametrize(('rgb', 'lab'), [
    ((1, 1, 1), (100, 0, 0)), ((0, 0, 0), (0, 0, 0)), ((1, 0, 0), (53.2406, 80.0923, 67.2031)),
    ((0, 1, 0), (87.7351, -86.1829, 83.1795)), ((0, 0, 1), (32.2957, 79.1880, -107.8600)),
    ((0.5, 0.5, 0.5), (53.3890, 0, 0))])
def test_colours_of_published_tables(rgb, lab):
    """The primaries as published for sRGB and D65."""
    found = rgb_to_lab(torch.tensor(rgb, dtype=torch.float32).view(3, 1, 1).expand(3, 5, 7))
    torch.testing.assert_close(found, torch.tensor(lab, dtype=torch.float32).view(3, 1, 1).expand(3, 5, 7), atol=0.02, rtol=0)


def loop_lab(rgb):
    """CIE's formulas with the constants of sRGB as decimal fractions of IEC 61966, for one colour."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
    matrix = [(0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041)]
    ratios = [sum(a * b for a, b in zip(row, linear)) / white for row, white in zip(matrix, (0.95047, 1, 1.08883))]
    f = [t ** (1 / 3) if t > (6 / 29) ** 3 else t * (29 / 6) ** 2 / 3 + 4 / 29 for t in ratios]
    return 116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])


def test_colours_of_a_loop():
    rgb = np.random.default_rng(3).uniform(0, 1, (3, 17, 19)) ** 3  # many dark ones
    found = rgb_to_lab(torch.from_numpy(rgb).float())
    for y in range(17):
        for x in range(19):
            np.testing.assert_allclose(found[:, y, x], loop_lab(rgb[:, y, x]), atol=0.01)


def test_the_graph_is_that_of_a_loop(monkeypatch):
    """500 random draws."""
    rng = np.random.default_rng(5)
    for _ in range(500):
        height, width, reach = (int(number) for number in (rng.integers(1, 6), rng.integers(1, 7), rng.integers(1, 4)))
        monkeypatch.setattr(neighbourhoods, 'STRIP_BYTES', int(rng.choice([1, 3000, 10 ** 6])))
        colours, tau = rng.uniform(0, 1, (3, height, width)), float(rng.uniform(0.1, 2))
        weights = pixel_weights(torch.from_numpy(colours).float(), reach, tau)
        expected = loop_pixel_graph(colours, 2 * reach + 1, tau)
        padded = F.pad(torch.eye(height * width).view(1, height, width, -1), (0, 0, *[reach] * 4))
        found = sums_of_neighbours(padded, weights.unsqueeze(0)).flatten(0, 2)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_refined_scores_are_the_solution_of_dense_equations():
    rng = np.random.default_rng(7)
    image, scores = torch.rand(3, 5, 7) * 0.1 + 0.5, torch.from_numpy(rng.standard_normal((4, 5, 7))).float()
    colours = rgb_to_lab(image).numpy().astype(np.float64) / np.array([100, 128, 128]).reshape(3, 1, 1)
    weights = loop_pixel_graph(colours, 5, 0.05)
    scale = weights.sum(axis=0) ** -0.5
    dense = np.eye(35) - 0.9 * scale[:, None] * weights * scale
    found = LPOSSPlus(0.05, 5, 0.9, 200).of_image(image)(scores)
    np.testing.assert_allclose(found.flatten(1).t(), np.linalg.solve(dense, scores.flatten(1).t()), atol=1e-3)
    after_three = LPOSSPlus(0.05, 5, 0.9, 3).of_image(image)(scores)
    for text in range(4):
        expected, _ = loop_conjugate_gradients(weights, scores[text].flatten().numpy(), 0.9, 3, 1e-6)
        np.testing.assert_allclose(after_three[text].flatten(), expected, atol=1e-4)


def test_images_and_scores_that_are_not_contiguous():
    image, scores = torch.rand(7, 5, 3).permute(2, 1, 0), torch.randn(7, 5, 2).permute(2, 1, 0)
    found = LPOSSPlus(tau=0.5, r=5).of_image(image)(scores)
    torch.testing.assert_close(found, LPOSSPlus(tau=0.5, r=5).of_image(image.contiguous())(scores.contiguous()))


def test_each_text_is_refined_on_its_own():
    image, scores = torch.rand(3, 11, 13), torch.randn(3, 11, 13)
    refine = LPOSSPlus(tau=0.3).of_image(image)
    for text in range(3):
        torch.testing.assert_close(refine(scores)[text], refine(scores[text:text + 1])[0], atol=1e-5, rtol=1e-4)


def test_a_colour_out_of_range_leaves_the_other_pixels_alone():
    image, scores = torch.rand(3, 11, 13), torch.randn(2, 11, 13)
    image[:, 3, 5] = 1
    expected = LPOSSPlus().of_image(image)(scores)
    image[:, 3, 5] = 3e38  # whose square is infinite
    assert torch.equal(LPOSSPlus().of_image(image)(scores), expected)


def test_pixels_without_neighbours_keep_their_scores():
    scores = torch.randn(2, 1, 1)
    torch.testing.assert_close(LPOSSPlus().of_image(torch.rand(3, 1, 1))(scores), scores)


def test_defaults_are_the_released_numbers():
    refiner = REFINERS.build(dict(type='LPOSSPlus'))
    assert (refiner.tau, refiner.reach, refiner.alpha, refiner.num_iter, refiner.tolerance) == (0.01, 6, 0.95, 10, 1e-6)


@pytest.mark.parametrize(('settings', 'message'), [
    (dict(tau=0), 'LPOSSPlus tau=0'), (dict(r=12), 'LPOSSPlus r=12 must be odd'), (dict(r=1), 'LPOSSPlus r=1'),
    (dict(alpha=1), 'LPOSSPlus alpha=1'), (dict(num_iter=0), 'LPOSSPlus num_iter=0'),
    (dict(tolerance=2), 'LPOSSPlus tolerance=2')])
def test_numbers_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        LPOSSPlus(**settings)
