from types import SimpleNamespace

import numpy as np
import pytest
import torch
from packaging.version import Version

from ovseg.models.dense import LastBlockEncoder, SCCLIPEncoder, WindowBatch
from ovseg.models.dense.scclip_encoder import (
    aggregation,
    find_outliers,
    outlier_factor,
    repair,
    self_correlating_attention,
    similarity_weights,
)
from ovseg.models.post_processors.outlier_detectors import local_outlier_factor
from ovseg.models.towers import OpenCLIPTower
from tests.method_goldens import (
    SIZES,
    WINDOWS,
    arrays,
    assert_close_in_deviations,
    assert_same_labels,
    golden_clip,
    golden_segmentor,
    labels_of,
)

GRID = (5, 7)
SMALL = dict(pre_layer=3, post_layer=1, levels=(2, 3), neighbours=5)  # for a ViT of five blocks


def loop_factor(patches, neighbours):
    """The released definition with its reachability distance, patch by patch, in float64."""
    near, radius = [], []
    for i, patch in enumerate(patches):
        distances = sorted((float(((patch - other) ** 2).sum()), j) for j, other in enumerate(patches) if j != i)[:neighbours]
        near.append(distances)
        radius.append(distances[-1][0])
    density = [len(row) / np.mean([max(distance, radius[i]) for distance, _ in row]) for i, row in enumerate(near)]
    return [np.mean([density[j] for _, j in row]) / density[i] for i, row in enumerate(near)]


def loop_repair(patches, outliers, grid_size):
    result = patches.copy()
    for i in np.flatnonzero(outliers):
        row, column = divmod(i, grid_size[1])
        near = [y * grid_size[1] + x for y in range(max(row - 1, 0), min(row + 2, grid_size[0]))
                for x in range(max(column - 1, 0), min(column + 2, grid_size[1]))]
        near = [j for j in near if not outliers[j]]
        if near:
            result[i] = patches[near].mean(axis=0)
    return result


def batch_of(images):
    return WindowBatch(images, torch.zeros(3, 1, 1), torch.ones(3, 1, 1))


@pytest.fixture
def tower(tiny_vit):
    return OpenCLIPTower(tiny_vit(GRID))


@pytest.mark.parametrize('size', SIZES)
def test_features_are_those_of_the_released_code(size):
    segmentor, images = golden_segmentor('scclip', 'SCCLIPEncoder'), arrays('inputs')[f'image/{size}']
    expected = arrays('scclip')[f'features/scclip-repo/{size}']
    assert_close_in_deviations(segmentor.embed(images).patches, expected)
    assert_close_in_deviations(torch.cat([segmentor.embed(image.unsqueeze(0)).patches for image in images]), expected)


@pytest.mark.parametrize('batch_size', [1, 32])
@pytest.mark.parametrize('threshold', [0.0, 0.35])
def test_labels_are_those_of_the_released_code(threshold, batch_size):
    segmentor = golden_segmentor('scclip', 'SCCLIPEncoder', decoder=dict(prob_thd=threshold),
                                 windows=dict(WINDOWS, batch_size=batch_size))
    expected = arrays('scclip')[f'segment/scclip-repo/crop112-stride56-thd{threshold}/pred']
    assert len(expected.unique()) > 2
    assert_same_labels(labels_of(segmentor, images=2), expected.expand(2, -1, -1))


@pytest.mark.parametrize('seed', range(50))
def test_factor_and_outliers_equal_the_loop(seed):
    draw = np.random.default_rng(seed)
    count, neighbours = draw.integers(2, 43), int(draw.integers(1, 31))
    patches = draw.normal(size=(3, count, 11)) + 30 * draw.normal(size=11)
    expected = np.array([loop_factor(window, min(neighbours, count - 1)) for window in patches])
    found = outlier_factor(torch.tensor(patches), neighbours)
    torch.testing.assert_close(found, torch.tensor(expected).float(), atol=1e-4, rtol=1e-3)
    outliers = np.array([row > (1 + 1e-5) * np.quantile(row, 0.93) for row in found.numpy()])
    assert find_outliers(torch.tensor(patches), neighbours, 0.07).tolist() == outliers.tolist()


def test_the_factor_is_not_the_textbook_s():
    patches = torch.randn(1, 35, 11)
    assert (outlier_factor(patches, 5) - local_outlier_factor(patches, 5)).abs().max() > 0.01


def test_the_quantile_is_that_of_each_window():
    patches = torch.randn(2, 37, 11)
    patches[1, ::2] *= 100
    assert find_outliers(patches, 5, 0.1).sum(1).tolist() == [4, 4]


def test_a_tie_is_no_outlier():
    """With all patches as neighbours, the two farthest have equal factors; which is the larger is up to rounding."""
    patches = torch.randn(500, 13, 5)
    assert not find_outliers(patches, 30, 0.05).any()


@pytest.mark.parametrize('patches', [torch.randn(2, 1, 5), torch.ones(2, 7, 5)], ids=['lone', 'equal'])
def test_windows_without_distances_have_no_outliers(patches):
    assert torch.equal(outlier_factor(patches, 30), torch.ones(patches.shape[:2]))
    assert not find_outliers(patches, 30, 0.05).any()


@pytest.mark.parametrize('seed', range(20))
def test_repaired_patches_equal_the_loop(seed):
    draw = np.random.default_rng(seed)
    patches, outliers = draw.normal(size=(2, 35, 11)), draw.random((2, 35)) < (0.9, 0.2)[seed % 2]
    found = repair(torch.tensor(patches), torch.tensor(outliers), GRID)
    expected = [loop_repair(*window, GRID) for window in zip(patches, outliers)]
    torch.testing.assert_close(found, torch.tensor(np.array(expected)))
    assert torch.equal(found[~torch.tensor(outliers)], torch.tensor(patches)[~torch.tensor(outliers)])


def test_weights_equal_the_loop():
    similarity = torch.rand(2, 11, 11) * 2 - 1
    similarity.diagonal(dim1=1, dim2=2).fill_(1)
    for window, summed, soft in zip(similarity, aggregation(similarity, 0.4), similarity_weights(similarity)):
        mean = window.mean()
        for row, summed_row, soft_row in zip(window, summed, soft):
            kept = [float(value) if value >= 0.4 else 0.0 for value in row]
            torch.testing.assert_close(summed_row, torch.tensor([value / (sum(kept) + 1e-6) for value in kept]))
            powers = [float(torch.exp(3 * (value - mean))) if value >= mean else 0.0 for value in row]
            torch.testing.assert_close(soft_row, torch.tensor([power / sum(powers) for power in powers]))


def test_equal_patches_attend_to_each_other():
    assert torch.isfinite(similarity_weights(torch.full((2, 5, 5), 0.9999999))).all()


def test_attention_equals_the_loop(tower):
    x, weights = torch.randn(2, 36, 22), torch.rand(2, 35, 35)
    block = tower.blocks[-1]
    _, k, v = (part[:, :, 1:] for part in tower.qkv(block, x, GRID))
    values = torch.stack([torch.stack([(window_weights + torch.softmax(k_head @ k_head.t() / 11 ** 0.5, 1)) / 2 @ v_head
                                       for k_head, v_head in zip(*heads)]) for window_weights, *heads in zip(weights, k, v)])
    torch.testing.assert_close(self_correlating_attention(tower, block, x, weights, GRID), tower.join(block, values))


def test_cls_token_and_attention_are_those_of_the_unmodified_clip(tower):
    images = torch.randn(2, 3, 35, 49)
    found = SCCLIPEncoder(**SMALL).tokens(tower, batch_of(images), with_attention=True)
    expected = LastBlockEncoder(cls_source='clip').tokens(tower, batch_of(images), with_attention=True)
    torch.testing.assert_close(found.cls_token, expected.cls_token)
    torch.testing.assert_close(found.attn, expected.attn)
    assert SCCLIPEncoder(**SMALL).tokens(tower, batch_of(images)).attn is None


def test_windows_do_not_depend_on_others_of_the_batch(tower):
    images = torch.randn(3, 3, 35, 49) * torch.tensor([0.01, 1, 100]).view(3, 1, 1, 1)
    encoder = SCCLIPEncoder(**SMALL)
    alone = torch.cat([encoder.tokens(tower, batch_of(image.unsqueeze(0))).patches for image in images])
    together = encoder.tokens(tower, batch_of(images.transpose(2, 3).contiguous().transpose(2, 3))).patches
    assert_close_in_deviations(together, alone, 1e-5)
    assert not torch.equal(alone[0], alone[1])


@pytest.mark.parametrize('precision', [
    pytest.param('fp16', marks=pytest.mark.skipif(Version(torch.__version__) < Version('2.3'),
                                                  reason='older torch has no float16 products on the CPU')), 'bf16'])
def test_half_precision_gives_nearly_the_same(precision):
    images = arrays('inputs')['image/112x112']
    full, half = (golden_segmentor('scclip', dict(type='SCCLIPEncoder', precision=name)).embed(images).patches.float()
                  for name in ('fp32', precision))
    assert torch.cosine_similarity(full, half, dim=-1).mean() > 0.99
    assert golden_clip().image_tower.dtype == torch.float32


@pytest.mark.parametrize(('settings', 'parts'), [
    (dict(pre_layer=0), ('image_encoder.pre_layer=0', '>= 1')), (dict(post_layer=1.5), ('image_encoder.post_layer=1.5',)),
    (dict(levels=4), ('image_encoder.levels=4', '(4, 10)')), (dict(levels=(4, 3)), ('image_encoder.levels[1]=3', '>= 4')),
    (dict(levels=(1, 2, 3)), ('image_encoder.levels=(1, 2, 3)',)), (dict(beta=1.5), ('image_encoder.beta=1.5', '[-1, 1]')),
    (dict(cls_weight=-1), ('image_encoder.cls_weight=-1',)), (dict(neighbours=0), ('image_encoder.neighbours=0', '>= 1')),
    (dict(contamination=float('nan')), ('image_encoder.contamination=nan', '[0, 1]')),
    (dict(precision='fp8'), ("image_encoder.precision='fp8'", 'bf16'))], ids=str)
def test_bad_settings_are_refused(settings, parts):
    with pytest.raises(ValueError) as error:
        SCCLIPEncoder(**settings)
    assert all(part in str(error.value) for part in parts)


@pytest.mark.parametrize(('settings', 'tower', 'message'), [
    (dict(), dict(has_cls=False, depth=12), 'SCCLIPEncoder needs a CLIP with a CLS token'),
    (dict(), dict(has_cls=True, depth=4), r'image_encoder.pre_layer=9 .* from 1 to 3 \(the CLIP has 4 blocks\)'),
    (dict(pre_layer=2, post_layer=4), dict(has_cls=True, depth=4), 'image_encoder.post_layer=4'),
    (dict(pre_layer=2, post_layer=1), dict(has_cls=True, depth=4), r'image_encoder.levels=10')], ids=str)
def test_towers_that_do_not_fit_are_refused(settings, tower, message):
    with pytest.raises(ValueError, match=message):
        SCCLIPEncoder(**settings).check(SimpleNamespace(**tower))
