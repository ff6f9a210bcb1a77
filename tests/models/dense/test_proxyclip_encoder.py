import math
from functools import partial

import numpy as np
import pytest
import torch
from packaging.version import Version

from ovseg.models import CLIPSegmentor
from ovseg.models.dense import ProxyCLIPEncoder, guided, project
from ovseg.models.dense.proxyclip_encoder import proxy_attention
from ovseg.models.guides import TimmGuide
from ovseg.models.towers import OpenCLIPTower
from ovseg.models.towers.adapters import image_tower
from tests.guided_loops import loop_proxyclip
from tests.method_goldens import (
    SIZES,
    WINDOWS,
    arrays,
    assert_close_in_deviations,
    assert_same_labels,
    golden_dino,
    golden_segmentor,
    labels_of,
)
from tests.tiny_timm import tiny_clip

GRID, GUIDE_GRID = (3, 5), (7, 11)
SIZES_OF_GUIDES = dict(embed_dim=24, depth=2, num_heads=2)
HALVES = [torch.bfloat16, pytest.param(torch.float16, marks=pytest.mark.skipif(
    Version(torch.__version__) < Version('2.3'), reason='older torch has no float16 products on the CPU'))]


@pytest.fixture(scope='module')
def golden(tmp_path_factory):
    """The segmentor of the reference."""
    return golden_segmentor('proxyclip', dict(type='ProxyCLIPEncoder', guide=golden_dino(tmp_path_factory.mktemp('dino'))))


@pytest.fixture
def tower(tiny_vit):
    return OpenCLIPTower(tiny_vit(GRID))


@pytest.fixture
def images():
    return torch.randn(3, 3, 21, 35)


@pytest.fixture
def features():
    """Features of three windows whose mean similarities differ: the third would lose all entries to another's mean."""
    shift = torch.tensor([0.0, 0.8, 1.5]).view(3, 1, 1)
    return torch.randn(3, math.prod(GUIDE_GRID), 13) + shift


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('chosen', [slice(0, 1), slice(1, 2), slice(0, 2)], ids=['first', 'second', 'both'])
def test_features_are_those_of_the_released_code(size, chosen, golden):
    features = golden.embed(arrays('inputs')[f'image/{size}'][chosen])
    assert_close_in_deviations(features.patches, arrays('proxyclip')[f'features/proxyclip-repo/{size}'][chosen], 1e-5)
    assert features.grid_size == (int(size[:size.index('x')]) // 8,) * 2


@pytest.mark.parametrize('batch_size', [1, 64])
@pytest.mark.parametrize('threshold', [0.0, 0.35])
def test_labels_are_those_of_the_released_code(batch_size, threshold, golden):
    segmentor = golden.variant(windows=dict(WINDOWS, batch_size=batch_size), decoder=dict(prob_thd=threshold))
    expected = arrays('proxyclip')[f'segment/proxyclip-repo/crop112-stride56-thd{threshold}/pred']
    for labels in labels_of(segmentor, images=2):
        assert_same_labels(labels.unsqueeze(0), expected)


def attention_by_loop(features, beta, gamma):
    """Weights of one window, entry by entry in float64."""
    unit = [row / max(np.linalg.norm(row), 1e-12) for row in features.astype(float)]
    similarity = np.array([[float(a @ b) for b in unit] for a in unit])
    weights = np.zeros_like(similarity)
    for i, j in np.ndindex(*similarity.shape):
        logit = gamma * (similarity[i, j] - beta * similarity.mean())
        if logit >= 0 or i == j:
            weights[i, j] = math.exp(logit)
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize('seed', range(50))
def test_attention_equals_a_loop(seed):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(2, rng.integers(1, 14), rng.integers(2, 8))) + rng.uniform(0, 2)
    beta, gamma = rng.uniform(-0.5, 1.5), rng.uniform(0.1, 9)
    found = proxy_attention(torch.from_numpy(features).float(), beta, gamma)
    np.testing.assert_allclose(found, [attention_by_loop(window, beta, gamma) for window in features], atol=1e-5)


@pytest.mark.parametrize('features', [torch.ones(1, 5, 3), torch.tensor([[[1.0, 0.0], [1.0, 0.1], [0.0, 0.0]]])],
                         ids=['all alike', 'a zero vector'])
def test_a_patch_without_any_entry_keeps_itself(features):
    weights = proxy_attention(features, 1.2, 3.0)
    alone = features[0].norm(dim=-1) == 0 if features.shape[1] == 3 else torch.ones(5, dtype=torch.bool)
    assert alone.any()
    assert torch.equal(weights[0, alone], torch.eye(features.shape[1])[alone])


def test_each_window_has_its_own_mean(features):
    together = proxy_attention(features, 1.2, 3.0)
    alone = torch.cat([proxy_attention(window.unsqueeze(0), 1.2, 3.0) for window in features])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=1e-5)
    similarity = guided.cosine_map(features)
    of_the_batch = torch.where(similarity < 1.2 * similarity.mean(), -torch.inf, 3 * similarity).softmax(dim=-1)
    assert not torch.allclose(together, of_the_batch, atol=1e-2, equal_nan=True)


@pytest.mark.parametrize('largest_map', [1, 2 * 77 ** 2, 2 ** 25], ids=['1 window', '2 windows', 'all'])
def test_tokens_equal_a_loop_over_windows(largest_map, tower, images, features, batch_of, given_guide, monkeypatch):
    monkeypatch.setattr(guided, 'LARGEST_MAP', largest_map)
    found = ProxyCLIPEncoder(given_guide, beta=0.9, gamma=2.0).tokens(tower, batch_of(images, features, GUIDE_GRID))
    expected = torch.stack([loop_proxyclip(tower, *window, GUIDE_GRID, 0.9, 2.0) for window in zip(images, features)])
    torch.testing.assert_close(found.patches, expected, atol=1e-5, rtol=1e-4)
    assert (found.grid_size, found.attn) == (GUIDE_GRID, None)


def test_maps_of_few_windows_are_held_at_a_time(features, tower, images, batch_of, given_guide, monkeypatch):
    seen = []
    monkeypatch.setattr('ovseg.models.dense.proxyclip_encoder.proxy_attention',
                        lambda some, *numbers: seen.append(len(some)) or proxy_attention(some, *numbers))
    monkeypatch.setattr(guided, 'LARGEST_MAP', 2 * 77 ** 2)
    ProxyCLIPEncoder(given_guide).tokens(tower, batch_of(images, features, GUIDE_GRID))
    assert seen == [2, 1]


def test_the_cls_token_is_that_of_the_unmodified_clip(tower, images, features, batch_of, given_guide):
    found = project(tower, ProxyCLIPEncoder(given_guide).tokens(tower, batch_of(images, features, GUIDE_GRID)))
    torch.testing.assert_close(found.cls_token, tower.visual(images), atol=2e-5, rtol=1e-4)


def test_strides_of_the_inputs_do_not_matter(tower, images, features, batch_of, given_guide):
    encoder = ProxyCLIPEncoder(given_guide)
    turned = images.transpose(2, 3).contiguous().transpose(2, 3), features.transpose(1, 2).contiguous().transpose(1, 2)
    assert not any(tensor.is_contiguous() for tensor in turned)
    found, expected = (encoder.tokens(tower, batch_of(*tensors, GUIDE_GRID)) for tensors in (turned, (images, features)))
    torch.testing.assert_close(found.patches, expected.patches, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize('value', [torch.nan, torch.inf])
def test_a_window_that_is_not_finite_leaves_the_others_alone(value, tower, images, features, batch_of, given_guide):
    expected = ProxyCLIPEncoder(given_guide).tokens(tower, batch_of(images, features, GUIDE_GRID)).patches
    images[1, 0, 3, 5] = features[1, 7, 2] = value
    found = ProxyCLIPEncoder(given_guide).tokens(tower, batch_of(images, features, GUIDE_GRID)).patches
    assert found[1].isnan().all()
    torch.testing.assert_close(found[[0, 2]], expected[[0, 2]], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize('dtype', HALVES)
def test_half_precision_leaves_the_attention_in_float32(dtype, tower, images, features, batch_of, given_guide, monkeypatch):
    seen = []
    monkeypatch.setattr('ovseg.models.dense.proxyclip_encoder.proxy_attention',
                        lambda *given: seen.append(proxy_attention(*given)) or seen[-1])
    encoder = ProxyCLIPEncoder(given_guide)
    expected = encoder.tokens(tower, batch_of(images, features, GUIDE_GRID))
    with torch.autocast('cpu', torch.bfloat16):
        encoder.tokens(tower, batch_of(images, features, GUIDE_GRID))
    found = encoder.tokens(tower.to(dtype), batch_of(images, features, GUIDE_GRID))
    assert found.patches.dtype == dtype
    torch.testing.assert_close(found.patches.float(), expected.patches, atol=0.1, rtol=0.1)
    assert all(torch.equal(weights, seen[0]) for weights in seen)


@pytest.mark.parametrize('kind', ['SigLIP', 'EVA02'])
def test_towers_of_timm(kind, images, features, batch_of, given_guide):
    tower = image_tower(tiny_clip(kind).visual)
    found = ProxyCLIPEncoder(given_guide).tokens(tower, batch_of(images, features, GUIDE_GRID))
    expected = torch.stack([loop_proxyclip(tower, *window, GUIDE_GRID) for window in zip(images, features)])
    torch.testing.assert_close(found.patches, expected, atol=1e-4, rtol=1e-4)
    assert (found.cls_token is None) == (kind == 'SigLIP')


TINY = dict(clip=dict(name='ovseg-tiny-clip', pretrained=None), vocabulary=dict(names=['thing', 'stuff'], templates='plain'),
            windows=dict(crop=112, stride=56))


@pytest.mark.parametrize(('model', 'model_cfg', 'grid_size'), [
    ('vit_base_patch8_224.dino', SIZES_OF_GUIDES, (14, 14)),
    ('vit_base_patch14_reg4_dinov2.lvd142m', dict(SIZES_OF_GUIDES, img_size=70), (8, 8)),
    ('vit_base_patch16_224.mae', SIZES_OF_GUIDES, (7, 7)),
    ('samvit_base_patch16.sa1b', dict(SIZES_OF_GUIDES, img_size=112, window_size=2, global_attn_indexes=(1,)), (7, 7))])
def test_guides_of_the_paper(model, model_cfg, grid_size):
    guide = dict(type='TimmGuide', model=model, pretrained=None, model_cfg=model_cfg)
    segmentor = CLIPSegmentor(**TINY, image_encoder=dict(type='ProxyCLIPEncoder', guide=guide))
    assert segmentor.embed(torch.randn(2, 3, 112, 112)).grid_size == grid_size
    result, = segmentor.predict(torch.randn(1, 3, 61, 131))
    assert result.pred_sem_seg.data.shape == (1, 61, 131)
    assert set(result.pred_sem_seg.data.unique().tolist()) <= {0, 1}


def test_the_default_guide_is_dino_with_patches_of_eight_pixels():
    assert ProxyCLIPEncoder().guide == TimmGuide('vit_base_patch8_224.dino')


def test_modules_that_need_the_attention_are_refused_and_others_are_not():
    build = partial(CLIPSegmentor, **TINY, image_encoder=dict(type='ProxyCLIPEncoder', guide='CLIPGuide'))
    with pytest.raises(ValueError, match=r'OutlierSuppression.*ProxyCLIPEncoder'):
        build(post_processors=['OutlierSuppression'])
    plain, debiased = (build(post_processors=chain).embed(torch.randn(1, 3, 112, 112))
                       for chain in ([], ['GlobalDebias', 'CTD']))
    assert debiased.patches.shape == plain.patches.shape and debiased.patches.isfinite().all()


@pytest.mark.parametrize(('settings', 'message'), [
    (dict(guide='NoGuide'), "image_encoder.guide.type='NoGuide' is unknown"),
    (dict(guide=None), 'image_encoder.guide'),
    (dict(guide=dict(type='TimmGuide', model='vit_base_patch8_224.dinosaur')), 'vit_base_patch8_224.dinosaur'),
    (dict(beta=float('nan')), 'image_encoder.beta=nan'), (dict(beta='1'), "image_encoder.beta='1'"),
    (dict(gamma=0), 'image_encoder.gamma=0'), (dict(gamma=-3.0), 'image_encoder.gamma=-3.0'),
    (dict(precision='fp8'), "image_encoder.precision='fp8'")])
def test_settings_that_are_not_allowed_are_named(settings, message):
    with pytest.raises(ValueError, match=message) as error:
        ProxyCLIPEncoder(**{'guide': 'CLIPGuide', **settings})
    assert '\n' not in str(error.value)
