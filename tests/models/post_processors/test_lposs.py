"""LPOSS against its own code, a graph written as loops, and a dense solve."""
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ovseg.inference.windows import WindowLayout
from ovseg.models import CLIPSegmentor
from ovseg.models.patch_scores import PatchScores
from ovseg.models.post_processors.lposs import LPOSS, patch_centres, patch_graph, propagate_over_patches
from ovseg.models.propagation import propagate
from ovseg.models.window_batch import GuideFeatures
from tests.method_goldens import (
    ORI_SHAPE,
    arrays,
    assert_close_in_deviations,
    assert_same_labels,
    golden_dino,
    golden_segmentor,
    labels_of,
)
from tests.propagation_loops import loop_conjugate_gradients, loop_patch_graph

CPU = torch.device('cpu')
WINDOWS = dict(crop=64, stride=32)
MASKCLIP = dict(attention=dict(type='MaskCLIP'), ignore_residual=False)


@pytest.fixture
def golden(tmp_path):
    lposs = LPOSS(golden_dino(tmp_path, 'v'))
    return golden_segmentor('lposs', MASKCLIP, windows=dict(**WINDOWS, batch_size=1), post_processors=[lposs],
                            upsampler=dict(type='BilinearUpsampler', scale=2, normalize=True), decoder=dict(at_input_size=True))


@pytest.mark.parametrize(('batch_size', 'images'), [(1, 1), (64, 2)])
def test_scores_and_labels_of_its_own_code(golden, batch_size, images):
    segmentor = golden.variant(windows=dict(**WINDOWS, batch_size=batch_size))
    expected = arrays('lposs')
    image = arrays('inputs')['segment_image'].expand(images, -1, -1, -1)
    for windows in segmentor.window_patches(image):
        before = segmentor.variant(post_processors=[]).scored(windows)
        assert_close_in_deviations((before[0].patches @ before[1].embeddings.t()).flatten(0, 1),
                                   expected['scores/lposs-repo/before'])
        after = segmentor.scored(windows)
        assert_close_in_deviations((after[0].patches @ after[1].embeddings.t()).flatten(0, 1),
                                   expected['scores/lposs-repo/after'])
    for labels in labels_of(segmentor, images):
        assert_same_labels(labels, expected['segment/lposs-repo/crop64-stride32/pred'][0])


def test_dense_scores_of_its_own_code(golden):
    image = arrays('inputs')['segment_image']
    windows, = golden.window_patches(image)
    windows, texts = golden.scored(windows)
    classes = golden.decoder.class_scores(image[0], windows, texts, ORI_SHAPE)
    expected = arrays('lposs')['segment/lposs-repo/crop64-stride32/scores']
    assert (classes - expected).abs().max() < 1e-3 * expected.abs().max()  # they are stored in float16


def random_case(rng):
    count, neighbours = rng.integers(2, 31), rng.integers(1, 13)
    features = rng.standard_normal((count, 5)).astype(np.float32)
    if rng.random() < 0.2:
        features[rng.integers(count)] = np.nan
    if rng.random() < 0.2:
        features[rng.integers(count)] = 0
    centres = rng.uniform(0, 97, (count, 2)).astype(np.float32)
    settings = (int(neighbours), float(rng.uniform(0.5, 4)), float(rng.uniform(0, 0.1)), float(rng.choice([1.0, 2.0, 0.5])))
    return features, centres, settings, rng.standard_normal((count, 3)).astype(np.float32), rng.uniform(0, 0.95)


def test_the_graph_is_that_of_a_loop_and_the_solution_that_of_dense_equations():
    """500 random draws."""
    rng = np.random.default_rng(11)
    for _ in range(500):
        features, centres, settings, seeds, alpha = random_case(rng)
        graph = patch_graph(torch.from_numpy(features), torch.from_numpy(centres), *settings, memory_mb=rng.choice([1e-4, 9.0]))
        found = graph.times(torch.eye(len(features)))
        np.testing.assert_allclose(found, loop_patch_graph(features, centres, *settings), atol=1e-5)
        weights = found.double().numpy()
        degrees = weights.sum(axis=0)
        scale = np.where(degrees > 0, 1 / np.sqrt(np.where(degrees > 0, degrees, 1)), 0)
        dense = np.eye(len(features)) - alpha * scale[:, None] * weights * scale
        solution = propagate_over_patches(torch.from_numpy(seeds), graph, alpha, 200, 1e-6, memory_mb=rng.choice([1e-4, 9.0]))
        np.testing.assert_allclose(solution, np.linalg.solve(dense, seeds), atol=2e-4, rtol=2e-4)


def test_ten_steps_are_those_of_a_solver_of_one_column():
    """500 random draws of steps and tolerances, with columns that stop at different steps, one of them zero."""
    rng = np.random.default_rng(23)
    stopped = 0
    for _ in range(500):
        features, centres, settings, seeds, alpha = random_case(rng)
        seeds[:, 1] = 0
        graph = patch_graph(torch.from_numpy(features), torch.from_numpy(centres), *settings)
        weights = graph.times(torch.eye(len(features))).double().numpy()
        tolerance, steps = float(rng.choice([0, 1e-6, 1e-2, 0.1, 0.3])), int(rng.integers(1, 11))
        found = propagate_over_patches(torch.from_numpy(seeds), graph, alpha, steps, tolerance)
        for column in range(3):
            expected, done = loop_conjugate_gradients(weights, seeds[:, column], alpha, steps, tolerance)
            stopped += column != 1 and done < steps
            if tolerance >= 1e-2 or done < 4:  # later steps of a solved system are rounding errors
                np.testing.assert_allclose(found[:, column], expected, atol=1e-3 * np.abs(seeds).max())
            assert found[:, 1].eq(0).all()
    assert stopped > 300


def test_rows_that_are_not_contiguous():
    features, seeds = torch.randn(7, 13).t(), torch.randn(5, 13).t()
    centres = torch.rand(2, 13).t() * 50
    graph = patch_graph(features, centres, 5, 3.0, 0.01, 1.0)
    expected = patch_graph(features.contiguous(), centres.contiguous(), 5, 3.0, 0.01, 1.0)
    degrees = graph.times(torch.ones(13, 1))
    torch.testing.assert_close(graph.times(seeds), expected.times(seeds.contiguous()))
    torch.testing.assert_close(propagate(graph.times, degrees, seeds, 0.9, 3, 0),
                               propagate(expected.times, degrees, seeds.contiguous(), 0.9, 3, 0))


def test_centres_are_those_of_the_patches_in_the_image():
    layout = WindowLayout.plan((61, 97), 48, 32, (16, 8))
    found = patch_centres(layout, CPU).view(len(layout), 3, 6, 2)
    window = 0
    for top in (0, 13):
        for left in (0, 32, 49):
            for row in range(3):
                for column in range(6):
                    assert found[window, row, column].tolist() == [top + 16 * row + 8, left + 8 * column + 4]
            window += 1


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_features_of_half_precision_are_computed_in_float32(dtype):
    features, centres = torch.randn(17, 7).to(dtype), torch.rand(17, 2) * 50
    found, expected = (patch_graph(x, centres, 5, 3.0, 0.01, 1.0) for x in (features, features.float()))
    assert torch.equal(found.times(torch.eye(17)), expected.times(torch.eye(17)))


def given_scores(guide_grid=(2, 3)):
    layout = WindowLayout.plan((32, 48), 0, 1, (16, 16))
    guide = GuideFeatures(torch.randn(1, guide_grid[0] * guide_grid[1], 5), guide_grid)
    return PatchScores(torch.randn(1, 6, 3), layout, torch.arange(3), 3, guide)


def test_the_module_is_the_functions_on_all_windows():
    layout = WindowLayout.plan((61, 97), 48, 32, (16, 16))
    scores, features = torch.randn(6, 9, 5), torch.randn(6, 9, 7)
    given = PatchScores(scores.clone(), layout, torch.arange(5), 5, GuideFeatures(features, (3, 3)))
    found = LPOSS('CLIPGuide', neighbours=11, gamma=2, sigma=0.02, power=2, alpha=0.8, num_iter=5)(given)
    graph = patch_graph(features.flatten(0, 1), patch_centres(layout, CPU), 11, 2, 0.02, 2)
    expected = propagate_over_patches(scores.flatten(0, 1), graph, 0.8, 5, 1e-6)
    assert torch.equal(found.scores, expected.view(6, 9, 5)) and torch.equal(given.scores, scores)
    assert (found.scores - scores).abs().max() > 0.1


def test_defaults_are_the_released_numbers():
    lposs = LPOSS('CLIPGuide')
    assert (lposs.neighbours, lposs.gamma, lposs.sigma, lposs.power, lposs.alpha, lposs.num_iter, lposs.tolerance) == (
        400, 3, 0.01, 1, 0.95, 10, 1e-6)


@pytest.mark.parametrize(('settings', 'message'), [
    (dict(neighbours=0), 'LPOSS neighbours=0'), (dict(gamma=0), 'LPOSS gamma=0'), (dict(sigma=-1), 'LPOSS sigma=-1'),
    (dict(power=0), 'LPOSS power=0'), (dict(power=50), 'LPOSS power=50'),
    (dict(alpha=1.0), 'LPOSS alpha=1.0'), (dict(num_iter=0.5), 'LPOSS num_iter=0.5'),
    (dict(tolerance=-1), 'LPOSS tolerance=-1'), (dict(memory_mb=0), 'LPOSS memory_mb=0'), (dict(guide=3), 'LPOSS guide=3')])
def test_numbers_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        LPOSS(**{'guide': 'CLIPGuide', **settings})


def test_a_guide_of_another_grid_is_refused():
    with pytest.raises(ValueError, match=r'LPOSS guide has a grid of 4 x 6 patches and the scores one of 2 x 3: choose'):
        LPOSS('CLIPGuide')(given_scores((4, 6)))
    with pytest.raises(ValueError, match='LPOSS needs the features of its guide, and the scores hold none'):
        LPOSS('CLIPGuide')(given_scores().replace(guide=None))


def test_it_runs_in_a_model_whose_image_is_not_finite_somewhere():
    segmentor = CLIPSegmentor(clip=dict(name='ovseg-tiny-clip', pretrained='embedded'), windows=dict(crop=64, stride=48),
                              vocabulary=dict(names=['red panda', 'grass, lawn', 'sea'], templates=['a {}.']),
                              post_processors=[dict(type='LPOSS', guide='CLIPGuide', neighbours=7)])
    image = torch.randn(3, 61, 131)
    image[:, 3, 5] = torch.nan
    result, = segmentor.predict([image])
    labels = result.pred_sem_seg.data[0]
    assert (labels == 255).any() and (labels[:, 70:] != 255).all()


def test_similar_patches_agree():
    """Two groups of patches with the same features each: seeds of one patch reach its group and no other."""
    features = F.one_hot(torch.arange(13) % 2, 3).float()
    seeds = torch.zeros(13, 1)
    seeds[4] = 1
    graph = patch_graph(features, torch.zeros(13, 2), 7, 3.0, 0.01, 1.0)
    found = propagate_over_patches(seeds, graph, 0.95, 10, 1e-6).squeeze(1)
    assert (found[::2] > 0.1).all() and found[1::2].abs().max() < 1e-6
