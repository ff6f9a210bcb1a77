import math
from functools import partial

import numpy as np
import pytest
import timm
import torch
from mmseg.structures import SegDataSample
from packaging.version import Version

from ovseg.models import CLIPSegmentor
from ovseg.models.dense import CorrCLIPEncoder, guided, project
from ovseg.models.guides import TimmGuide
from ovseg.models.regions import NpzRegions
from ovseg.models.towers import OpenCLIPTower
from ovseg.models.towers.adapters import image_tower
from ovseg.models.window_batch import WindowBatch
from tests.guided_loops import loop_corrclip
from tests.method_goldens import (
    ORI_SHAPE,
    SIZES,
    WINDOWS,
    arrays,
    assert_close_in_deviations,
    assert_same_labels,
    golden_dino,
    golden_segmentor,
)
from tests.tiny_timm import tiny_clip

GRID, GUIDE_GRID, E = (3, 5), (7, 11), 13
SUPERPIXELS = 'SuperpixelRegions'
HALVES = [torch.bfloat16, pytest.param(torch.float16, marks=pytest.mark.skipif(
    Version(torch.__version__) < Version('2.3'), reason='older torch has no float16 products on the CPU'))]
TINY = dict(clip=dict(name='ovseg-tiny-clip', pretrained=None), vocabulary=dict(names=['thing', 'stuff'], templates='plain'),
            windows=dict(crop=112, stride=56))


@pytest.fixture(scope='module')
def golden(tmp_path_factory):
    """The segmentor of the reference, with the region maps of its image ``a.jpg``."""
    folder = tmp_path_factory.mktemp('corrclip')
    np.savez(folder / 'a.npz', instance_mask=arrays('inputs')['segment_regions'].numpy())
    return golden_segmentor('corrclip', dict(type='CorrCLIPEncoder', guide=golden_dino(folder, 'qk'),
                                             regions=dict(type='NpzRegions', root=str(folder))))


@pytest.fixture
def tower(tiny_vit):
    return OpenCLIPTower(tiny_vit(GRID))


@pytest.fixture
def windows(generator):
    """Three windows, the guide's features of them, and their regions: several, two, and none but one."""
    regions = torch.randint(0, 9, (3, 3, 5), generator=generator).repeat_interleave(7, 1).repeat_interleave(7, 2)
    regions[0, :8], regions[1], regions[2] = 0, 3 + (torch.arange(21) > 9).long().unsqueeze(1), 5
    features = torch.randn(3, math.prod(GUIDE_GRID), 17, generator=generator) + 0.3 * torch.tensor([0, 1, 2]).view(3, 1, 1)
    return torch.randn(3, 3, 21, 35, generator=generator), features, regions


@pytest.fixture
def encode(batch_of, given_guide):
    """Tokens of windows by ``CorrCLIPEncoder(**settings)``."""
    def run(tower, images, features, regions, **settings):
        encoder = CorrCLIPEncoder(SUPERPIXELS, given_guide, **{'spatial_layers': 2, **settings})
        encoder.check(tower)
        return encoder.tokens(tower, batch_of(images, features, GUIDE_GRID, regions=regions))
    return run


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('chosen', [slice(0, 1), slice(1, 2), slice(0, 2)], ids=['first', 'second', 'both'])
def test_features_are_those_of_the_released_code(size, chosen, golden):
    batch = golden.batch(arrays('inputs')[f'image/{size}'][chosen], arrays('inputs')[f'regions/{size}'][chosen].long())
    features = golden.embed(batch)
    assert_close_in_deviations(features.patches, arrays('corrclip')[f'features/corrclip-repo/{size}'][chosen], 1e-5)
    assert features.grid_size == (int(size[:size.index('x')]) // 8,) * 2


@pytest.mark.parametrize('batch_size', [1, 64])
@pytest.mark.parametrize('threshold', [0.0, 0.35])
def test_labels_are_those_of_the_released_code(batch_size, threshold, golden):
    segmentor = golden.variant(windows=dict(WINDOWS, batch_size=batch_size), decoder=dict(prob_thd=threshold))
    samples = [SegDataSample(metainfo=dict(ori_shape=ORI_SHAPE, img_path='photos/a.jpg')) for _ in range(2)]
    images = arrays('inputs')['segment_image'].expand(2, -1, -1, -1)
    expected = arrays('corrclip')[f'segment/corrclip-repo/crop112-stride56-thd{threshold}/pred']
    for result in segmentor.predict(images, samples):
        assert_same_labels(result.pred_sem_seg.data, expected)


@pytest.mark.parametrize('spatial_layers', [1, 2, 3])
@pytest.mark.parametrize('largest_map', [1, 2 * 77 ** 2, 2 ** 25], ids=['1 window', '2 windows', 'all'])
def test_branches_equal_a_loop_over_windows_and_masks(spatial_layers, largest_map, tower, windows, encode, monkeypatch):
    monkeypatch.setattr(guided, 'LARGEST_MAP', largest_map)
    found = encode(tower, *windows, eps=0.4, temperature=3.0, spatial_layers=spatial_layers)
    images, features, regions = windows
    expected = [loop_corrclip(tower, image, own, GUIDE_GRID, own_regions, 0.4, 3.0, spatial_layers)
                for image, own, own_regions in zip(images, features, regions)]
    for branch, part in enumerate(found.patches.chunk(3, dim=-1)):
        torch.testing.assert_close(part, torch.stack([window[branch] for window in expected]), atol=2e-5, rtol=1e-4)
    assert (found.grid_size, found.attn) == (GUIDE_GRID, None)


def test_windows_of_a_batch_do_not_depend_on_each_other(tower, windows, encode):
    together = encode(tower, *windows)
    alone = [encode(tower, *(part[index:index + 1] for part in windows)) for index in range(3)]
    torch.testing.assert_close(together.patches, torch.cat([each.patches for each in alone]), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(together.cls_token, torch.cat([each.cls_token for each in alone]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize('value', [torch.nan, torch.inf])
def test_a_window_that_is_not_finite_leaves_the_others_alone(value, tower, windows, encode):
    images, features, _ = windows
    expected = encode(tower, *windows).patches
    images[0, 0, 3, 5] = features[0, 7, 2] = value
    found = encode(tower, *windows).patches
    assert found[0].isnan().all()
    torch.testing.assert_close(found[1:], expected[1:], atol=1e-5, rtol=1e-4)


def test_as_many_regions_as_patches(tower, windows, encode):
    images, features, _ = windows
    regions = torch.randperm(21 * 35).view(1, 21, 35).expand(3, -1, -1)
    found = encode(tower, images, features, regions, eps=0.01)
    expected = torch.stack([loop_corrclip(tower, *window, GUIDE_GRID, regions[0], 0.01, 4.0, 2)
                            for window in zip(images, features)])
    torch.testing.assert_close(torch.stack(found.patches.chunk(3, dim=-1), dim=1), expected, atol=2e-5, rtol=1e-4)


def test_names_of_regions_do_not_matter_but_for_their_order(tower, windows, encode):
    images, features, regions = windows
    renamed = torch.where(regions == 0, 0, 60_000 + 7 * regions)
    assert torch.equal(encode(tower, images, features, renamed).patches, encode(tower, *windows).patches)


def test_branches_are_projected_and_added(tower, windows, given_guide, encode):
    features = encode(tower, *windows)
    encoder = CorrCLIPEncoder(SUPERPIXELS, given_guide, spatial_weight=0.7, semantic_weight=0.3)
    found = encoder.project(tower, features)
    main, spatial, semantic = (tower.visual.ln_post(part) for part in features.patches.split(22, dim=-1))
    torch.testing.assert_close(found.patches, (main + 0.7 * spatial + 0.3 * semantic) @ tower.visual.proj, atol=1e-5, rtol=1e-4)
    assert found.patches.shape == (3, 77, E) and found.grid_size == GUIDE_GRID


def test_the_cls_token_is_that_of_the_unmodified_clip(tower, windows, given_guide, encode):
    features = encode(tower, *windows)
    for found in (CorrCLIPEncoder(SUPERPIXELS, given_guide).project(tower, features),
                  project(tower, features.replace(patches=features.patches[..., :22]))):
        torch.testing.assert_close(found.cls_token, tower.visual(windows[0]), atol=2e-5, rtol=1e-4)


def test_strides_of_the_inputs_do_not_matter(tower, windows, encode):
    turned = [part.transpose(1, 2).contiguous().transpose(1, 2) for part in windows]
    assert not any(part.is_contiguous() for part in turned)
    torch.testing.assert_close(encode(tower, *turned).patches, encode(tower, *windows).patches, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize('dtype', HALVES)
def test_half_precision_is_near_to_single(dtype, tower, windows, encode):
    expected = encode(tower, *windows)
    found = encode(tower.to(dtype), *windows)
    assert found.patches.dtype == dtype
    torch.testing.assert_close(found.patches.float(), expected.patches, atol=0.3, rtol=0.1)


@pytest.mark.skipif(Version(timm.__version__) < Version('1.0.22'), reason='older timm has no rotary embedding of an empty grid')
def test_rotary_towers_of_timm_have_copies_without_a_position(windows, encode):
    tower = image_tower(tiny_clip('EVA02').visual)
    images, features, regions = windows
    found = encode(tower, images, features, torch.zeros_like(regions), spatial_layers=1)
    x, own_grid = tower.embed(images)
    for block in tower.blocks:  # a copy that attends to all tokens is the CLS token itself
        x = tower.run(block, x, own_grid)
    semantic = found.patches.chunk(3, dim=-1)[2]
    torch.testing.assert_close(semantic, x[:, :1].expand_as(semantic), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(('depth', 'layers'), [(3, 1), (4, 1), (5, 1), (7, 3), (12, 5), (24, 12), (32, 28)])
def test_default_of_the_spatial_layers_depends_on_the_depth(depth, layers, tiny_vit, windows, encode):
    tower = OpenCLIPTower(tiny_vit(GRID, layers=depth))
    default, given = (encode(tower, *windows, spatial_layers=value) for value in (None, layers))
    assert torch.equal(default.patches, given.patches)
    if layers + 1 <= depth - 2:
        assert not torch.equal(encode(tower, *windows, spatial_layers=layers + 1).patches, given.patches)


def test_the_defaults_are_those_of_the_released_code():
    encoder = CorrCLIPEncoder(SUPERPIXELS)
    assert encoder.guide == TimmGuide('vit_base_patch8_224.dino', features='qk')
    assert (encoder.eps, encoder.temperature, encoder.spatial_weight, encoder.semantic_weight) == (0.2, 4.0, 1.0, 0.5)
    assert encoder.region_vote


def test_it_runs_on_images_of_any_size_without_a_second_network():
    segmentor = CLIPSegmentor(**TINY, image_encoder=dict(type='CorrCLIPEncoder', guide='CLIPGuide', regions=SUPERPIXELS))
    result, = segmentor.predict(torch.randn(1, 3, 61, 131))
    assert result.pred_sem_seg.data.shape == (1, 61, 131)
    regions = result.regions.data[0]
    assert all(len(result.pred_sem_seg.data[0][regions == number].unique()) == 1 for number in regions.unique() if number)


def test_modules_that_need_the_attention_are_refused_and_others_are_not():
    build = partial(CLIPSegmentor, **TINY, image_encoder=dict(type='CorrCLIPEncoder', guide='CLIPGuide', regions=SUPERPIXELS))
    with pytest.raises(ValueError, match=r'SelfAttnEnhancement.*CorrCLIPEncoder'):
        build(post_processors=['SelfAttnEnhancement'])
    regions = torch.randint(0, 5, (1, 112, 112))
    for chain in (['GlobalDebias'], ['CTD']):
        segmentor = build(post_processors=chain)
        assert segmentor.embed(segmentor.batch(torch.randn(1, 3, 112, 112), regions)).patches.isfinite().all()


@pytest.mark.parametrize(('settings', 'message'), [
    (dict(regions=None), 'image_encoder.regions'),
    (dict(regions='NoRegions'), "image_encoder.regions.type='NoRegions' is unknown"),
    (dict(regions=dict(type='NpzRegions')), "'root'"), (dict(guide='NoGuide'), "image_encoder.guide.type='NoGuide' is unknown"),
    (dict(eps=-0.1), 'image_encoder.eps=-0.1'), (dict(eps=float('nan')), 'image_encoder.eps=nan'),
    (dict(temperature=0), 'image_encoder.temperature=0'), (dict(spatial_layers=0), 'image_encoder.spatial_layers=0'),
    (dict(spatial_layers=2.0), 'image_encoder.spatial_layers=2.0'),
    (dict(spatial_weight=-1), 'image_encoder.spatial_weight=-1'),
    (dict(semantic_weight='1'), "image_encoder.semantic_weight='1'"), (dict(precision='fp8'), "image_encoder.precision='fp8'")])
def test_settings_that_are_not_allowed_are_named(settings, message):
    with pytest.raises(ValueError, match=message) as error:
        CorrCLIPEncoder(**{'guide': 'CLIPGuide', 'regions': SUPERPIXELS, **settings})
    assert '\n' not in str(error.value)


def test_regions_must_be_given():
    with pytest.raises(ValueError, match="'regions'"):
        CLIPSegmentor(**TINY, image_encoder=dict(type='CorrCLIPEncoder', guide='CLIPGuide'))
    with pytest.raises(FileNotFoundError, match='NpzRegions root'):
        CLIPSegmentor(**TINY, image_encoder=dict(type='CorrCLIPEncoder', guide='CLIPGuide', regions=NpzRegions('no/folder')))
    encoder = CorrCLIPEncoder(SUPERPIXELS, 'CLIPGuide')
    with pytest.raises(ValueError, match='the batch holds none'):
        encoder.tokens(None, WindowBatch(torch.zeros(1, 3, 32, 32), torch.zeros(3, 1, 1), torch.ones(3, 1, 1)))


def test_towers_that_cannot_work_are_refused(tiny_vit):
    build = partial(CorrCLIPEncoder, SUPERPIXELS, 'CLIPGuide')
    with pytest.raises(ValueError, match='needs a CLIP with a CLS token'):
        build().check(image_tower(tiny_clip('SigLIP').visual))
    with pytest.raises(ValueError, match=r'spatial_layers=4 must be an integer from 1 to 3 \(the CLIP has 5 blocks\)'):
        build(spatial_layers=4).check(OpenCLIPTower(tiny_vit()))
    build(spatial_layers=3).check(OpenCLIPTower(tiny_vit()))
