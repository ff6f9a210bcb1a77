from copy import deepcopy

import pytest
import torch
from open_clip.timm_model import TimmModel
from timm.models.vision_transformer import ResPostBlock

from ovseg.models.dense import LastBlockEncoder, WindowBatch, project
from ovseg.models.towers import TimmTower
from ovseg.registry import ATTENTIONS
from tests.tiny_timm import GRID, TOWERS, WITHOUT_CLS, E, small_timm, tiny_clip

GRIDS = [(2, 7), (5, 5), (5, 3)]  # (5, 3) has as many patches as the pretrained (3, 5)


@pytest.fixture(scope='module', params=TOWERS)
def kind(request):
    return request.param


@pytest.fixture(scope='module')
def model(kind):
    """Not to be changed."""
    return tiny_clip(kind)


def images_of(tower, grid_size=GRID, beyond=0):
    rows, cols = (size * patch + beyond for size, patch in zip(grid_size, tower.patch_size))
    return torch.randn(2, 3, rows, cols)


def tokens(tower, images, with_attention=False, **settings):
    encoder = LastBlockEncoder(**settings)
    encoder.check(tower)
    return encoder.tokens(tower, WindowBatch(images, torch.zeros(3, 1, 1), torch.ones(3, 1, 1)), with_attention)


@torch.no_grad()
def output_of_last_block(visual, images):
    """Tokens ``(B, T, D)`` that leave the last block of the host model."""
    outputs = []
    hook = visual.trunk.blocks[-1].register_forward_hook(lambda module, args, output: outputs.append(output))
    visual(images)
    hook.remove()
    return outputs[0]


def with_dynamic_size(model, kind):
    """The host's image tower as timm runs it on images of any size."""
    dynamic = tiny_clip(kind, dynamic_img_size=True)
    dynamic.load_state_dict(model.state_dict())
    return dynamic.visual


@torch.no_grad()
def test_pooled_is_the_image_embedding_of_the_model(model):
    tower = TimmTower(deepcopy(model.visual))
    images = images_of(tower)
    expected = model.encode_image(images)
    assert expected.std() > 0.1
    torch.testing.assert_close(tower.pooled(images), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize('grid_size', GRIDS)
def test_positions_of_other_grids_are_those_of_a_dynamic_host(model, kind, grid_size):
    tower = TimmTower(deepcopy(model.visual))
    images = images_of(tower, grid_size)
    assert tower.embed(images)[1] == grid_size
    torch.testing.assert_close(tower.pooled(images), with_dynamic_size(model, kind)(images), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_what_exceeds_a_multiple_of_the_patch_is_ignored(model):
    tower = TimmTower(deepcopy(model.visual))
    images = images_of(tower, beyond=3)
    height, width = (size * patch for size, patch in zip(GRID, tower.patch_size))
    x, grid_size = tower.embed(images)
    assert grid_size == GRID
    assert torch.equal(x, tower.embed(images[:, :, :height, :width])[0])


def test_sizes(model, kind):
    tower = TimmTower(deepcopy(model.visual))
    width, heads = (768, 12) if kind == 'MobileCLIP-B' else (model.visual.trunk.embed_dim, TOWERS[kind][1]['num_heads'])
    assert (tower.width, tower.heads, tower.has_cls) == (width, heads, kind not in WITHOUT_CLS)
    assert tower.output_width == (width if 'SigLIP' in kind else E)
    assert tower.patch_size == ((16, 16) if kind == 'MobileCLIP-B' else (7, 7))
    assert tower.depth == (2 if kind == 'MobileCLIP-B' else 3)


@torch.no_grad()
@pytest.mark.parametrize('grid_size', [GRID, (2, 7)])
def test_vanilla_with_residual_is_the_last_block_of_the_host(model, kind, grid_size):
    tower = TimmTower(deepcopy(model.visual))
    images = images_of(tower, grid_size)
    features = tokens(tower, images, attention='Vanilla', ignore_residual=False)
    expected = output_of_last_block(with_dynamic_size(model, kind), images)
    torch.testing.assert_close(features.patches, expected[:, int(tower.has_cls):], atol=1e-5, rtol=1e-5)
    if kind in WITHOUT_CLS:
        assert features.cls_token is None
    else:
        torch.testing.assert_close(features.cls_token, expected[:, 0], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_patch_is_projected_as_if_the_image_had_no_other_token(model):
    tower = TimmTower(deepcopy(model.visual))
    x = torch.randn(2, 5, tower.width)
    trunk, head = model.visual.trunk, model.visual.head
    expected = [head(trunk.forward_head(trunk.norm(x[:, i:i + 1]))) for i in range(5)]
    torch.testing.assert_close(tower.project(x), torch.stack(expected, dim=1), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(tower.project(x[:, 3]), expected[3], atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize('attention', sorted(ATTENTIONS.module_dict))
def test_every_attention_runs_on_it(model, attention):
    tower = TimmTower(deepcopy(model.visual))
    similarity = None if attention == 'MaskCLIP' else dict(layer=1)
    features = tokens(tower, images_of(tower, (2, 7), beyond=1), True, attention=attention, similarity=similarity)
    embeddings = project(tower, features)
    length = 14 + tower.has_cls
    assert features.grid_size == (2, 7) and features.patches.shape == (2, 14, tower.width)
    assert embeddings.patches.shape == (2, 14, tower.output_width) and embeddings.patches.isfinite().all()
    assert (embeddings.cls_token is not None) == tower.has_cls
    torch.testing.assert_close(features.attn.sum(dim=-1), torch.ones(2, length))
    assert embeddings.patches.std(dim=1).max() > 1e-3


@torch.no_grad()
def test_attentions_differ(model):
    tower = TimmTower(deepcopy(model.visual))
    images = images_of(tower)
    found = [tokens(tower, images, attention=name).patches for name in ('Vanilla', 'KK', 'ClearCLIP', 'NACLIP', 'MaskCLIP')]
    for i, one in enumerate(found):
        assert all((one - other).abs().max() > 1e-4 for other in found[:i])


@torch.no_grad()
def test_stochastic_depth_and_dropout_are_off(kind):
    vision, small = TOWERS[kind]
    with small_timm(**small, proj_drop_rate=0.5, attn_drop_rate=0.5, pos_drop_rate=0.5):
        visual = TimmModel(vision['timm_model_name'], E, pool=vision['timm_pool'], proj=vision['timm_proj'], drop=0.5,
                           drop_path=0.5)
    tower = TimmTower(visual.train())
    images = images_of(tower)
    torch.testing.assert_close(tower.pooled(images), visual.eval()(images), atol=1e-5, rtol=1e-5)
    assert not any(parameter.requires_grad for parameter in tower.parameters())


@torch.no_grad()
def test_half_precision_is_near_to_single(model, kind):
    tower = TimmTower(deepcopy(model.visual))
    images = images_of(tower, (2, 7))
    expected = project(tower, tokens(tower, images, attention='Vanilla')).patches
    half = deepcopy(tower).to(torch.bfloat16)
    patches = project(half, tokens(half, images, attention='Vanilla')).patches
    assert patches.dtype == torch.bfloat16
    assert torch.cosine_similarity(patches.float(), expected, dim=-1).median() > 0.999


def refused(name, pool='', **settings):
    with torch.device('meta'), small_timm(**settings):
        visual = TimmModel(name, 13, pool=pool, proj='linear' if not pool else None)
    with pytest.raises(TypeError) as error:
        TimmTower(visual)
    message = str(error.value)
    assert 'ovseg needs a VisionTransformer or Eva' in message and 'ViT-B-16-SigLIP' in message and '\n' not in message
    return message


@pytest.mark.parametrize(('name', 'pool', 'settings', 'message'), [
    ('convnext_tiny', '', {}, 'is a ConvNeXt of timm'), ('fastvit_mci0', 'avg', {}, 'is a FastVit of timm'),
    ('swin_tiny_patch4_window7_224', '', {}, 'is a SwinTransformer of timm'),
    ('resnet10t', 'avg', {}, 'is a ResNet of timm'),
    ('vit_relpos_small_patch16_224', '', {}, 'is a VisionTransformerRelPos of timm'),
    ('vitamin_small_224', '', dict(depth=1), "pools its patches (pool 'avg')"),
    ('vit_medium_patch16_gap_256', '', dict(depth=1), "pools its patches (pool 'avg')"),
    ('vit_tiny_patch16_224', 'max', dict(depth=1), "pools its patches (pool 'max')"),
    ('vit_tiny_patch16_224', 'token', dict(depth=1, reg_tokens=3), 'with register tokens'),
    ('eva02_tiny_patch14_224', 'token', dict(depth=1, use_abs_pos_emb=False), 'without learnt positions'),
    ('vit_tiny_patch16_224', 'token', dict(depth=1, block_fn=ResPostBlock), 'a ResPostBlock of another kind (Attention)'),
    ('eva02_tiny_patch14_224', 'token', dict(depth=1, rope_type='mixed'), 'a EvaBlock of another kind')])
def test_other_towers_are_refused_by_name(name, pool, settings, message):
    assert message in refused(name, pool, **settings)
