from inspect import signature

import numpy as np
import pytest
import torch
from open_clip.modified_resnet import ModifiedResNet
from open_clip.transformer import QuickGELU, VisionTransformer
from packaging.version import Version
from torch import nn

from ovseg.models.dense.last_block_encoder import original_attention
from tests.bound_encoder import BoundEncoder

D, D_HEAD, LAYERS, E = 22, 11, 5, 13
SOFTMAX_TYPES = ['Vanilla', 'SCLIP', 'ClearCLIP', 'NACLIP', 'KK', 'SFP', 'SegEarth', 'Experimental']
MODEL_TYPES = [*SOFTMAX_TYPES, 'MaskCLIP']
SIN_COS = dict(pos_embed_type='sin_cos_2d', grid_size=(3, 3), width=24)


def images_of(visual, batch=2, grid_size=None):
    rows, cols = grid_size or visual.grid_size
    return torch.randn(batch, 3, rows * visual.patch_size[0], cols * visual.patch_size[1])


@torch.no_grad()
def trunk(visual, images):
    """The embedded image and every block's output, from open_clip's own modules."""
    states = []
    modules = [visual.ln_pre, *visual.transformer.resblocks]
    hooks = [module.register_forward_hook(lambda module, args, output: states.append(output)) for module in modules]
    visual(images)
    for hook in hooks:
        hook.remove()
    return states


def head_projections(block, y, head):
    """q, k, v ``(T, d)`` of one head for the normalised tokens ``y (T, D)`` of one window."""
    rows = [slice(part * D + head * D_HEAD, part * D + (head + 1) * D_HEAD) for part in range(3)]
    return [y @ block.attn.in_proj_weight[r].t() + block.attn.in_proj_bias[r] for r in rows]


def head_weights(model_type, q, k, v, bias, grid_size):
    """Weights ``(T, T)`` of one head, as the table of model types says."""
    if model_type == 'MaskCLIP':
        return torch.eye(len(q))
    qk, qq, kk, vv = (a @ b.t() / D_HEAD ** 0.5 for a, b in ((q, k), (q, q), (k, k), (v, v)))
    logits = {'Vanilla': [qk], 'SCLIP': [qq, kk], 'ClearCLIP': [qq], 'NACLIP': [kk], 'KK': [kk], 'SFP': [(qq + kk) / 2],
              'SegEarth': [qq, kk, vv], 'Experimental': [torch.sigmoid(qq) * kk]}[model_type]
    if model_type == 'NACLIP':
        places = torch.cartesian_prod(*(torch.arange(float(size)) for size in grid_size))
        logits[0][1:, 1:] += torch.exp(-torch.cdist(places, places) ** 2 / (2 * 5.0 ** 2))
    return sum(torch.softmax(x + bias, dim=-1) for x in logits)


def similarity_bias(x_mid, weight=1.0, temperature=1.0, add_self_similarity=True):
    """Bias ``(T, T)`` from one window's tokens ``(T, D)``."""
    bias = torch.zeros(len(x_mid), len(x_mid))
    for i in range(1, len(x_mid)):
        for j in range(1, len(x_mid)):
            if i != j or add_self_similarity:
                bias[i, j] = weight * x_mid[i] @ x_mid[j] / x_mid[i].norm() / x_mid[j].norm() / temperature
    return bias


@torch.no_grad()
def reference_tokens(visual, images, model_type, ignore_residual, layer=None, **similarity):
    """Tokens ``(B, T, D)`` of the modified last block, one window and one head at a time."""
    *_, x, _ = states = trunk(visual, images)
    block, y, windows = visual.transformer.resblocks[-1], visual.transformer.resblocks[-1].ln_1(x), []
    for b in range(len(x)):
        bias = torch.zeros(x.shape[1], x.shape[1]) if layer is None else similarity_bias(states[layer][b], **similarity)
        heads = [head_projections(block, y[b], head) for head in range(2)]
        context = [head_weights(model_type, q, k, v, bias, visual.grid_size) @ v for q, k, v in heads]
        out = block.ls_1(block.attn.out_proj(torch.cat(context, dim=-1)))
        z = x[b] + out
        windows.append(out if ignore_residual else z + block.ls_2(block.mlp(block.ln_2(z))))
    return torch.stack(windows)


def assert_tokens(features, expected, atol=2e-5):
    torch.testing.assert_close(features.patches, expected[:, 1:], atol=atol, rtol=1e-4)
    torch.testing.assert_close(features.cls_token, expected[:, 0], atol=atol, rtol=1e-4)


@pytest.mark.parametrize('ignore_residual', [True, False])
@pytest.mark.parametrize('model_type', MODEL_TYPES)
def test_last_block_equals_the_reference(tiny_vit, model_type, ignore_residual):
    visual = tiny_vit(ls_init_value=0.3)
    images = images_of(visual)
    features = BoundEncoder(visual, model_type, ignore_residual, cls_source='last_block').tokens(images)
    assert features.grid_size == (3, 5)
    assert_tokens(features, reference_tokens(visual, images, model_type, ignore_residual))


@pytest.mark.parametrize('ignore_residual', [True, False])
@pytest.mark.parametrize('model_type', SOFTMAX_TYPES)
def test_similarity_equals_the_reference(tiny_vit, model_type, ignore_residual):
    visual = tiny_vit()
    images = images_of(visual)
    cfg = dict(similarity_weight=1.7, temperature=0.3, layer=3, add_self_similarity=False)
    encoder = BoundEncoder(visual, model_type, ignore_residual, similarity=cfg, cls_source='last_block')
    expected = reference_tokens(visual, images, model_type, ignore_residual, layer=3, weight=1.7, temperature=0.3,
                                add_self_similarity=False)
    assert_tokens(encoder.tokens(images), expected)


@pytest.mark.parametrize(('cfg', 'layer'), [({}, 2), (dict(layer=1), 1), (dict(layer=2), 2), (dict(layer=4), 4)])
def test_similarity_layer_counts_from_one_and_defaults_to_half(tiny_vit, cfg, layer):
    visual = tiny_vit()
    images = images_of(visual)
    encoder = BoundEncoder(visual, 'ClearCLIP', similarity=cfg, cls_source='last_block')
    assert_tokens(encoder.tokens(images), reference_tokens(visual, images, 'ClearCLIP', True, layer=layer))
    others = [reference_tokens(visual, images, 'ClearCLIP', True, layer=other) for other in {1, 2, 3, 4} - {layer}]
    assert all((encoder.tokens(images).patches - other[:, 1:]).abs().max() > 1e-3 for other in others)


def test_similarity_weight_zero_equals_no_similarity(tiny_vit):
    visual = tiny_vit()
    images = images_of(visual)
    with_zero = BoundEncoder(visual, similarity=dict(similarity_weight=0.0)).tokens(images)
    torch.testing.assert_close(with_zero.patches, BoundEncoder(visual).tokens(images).patches)


@pytest.mark.parametrize('add_self_similarity', [True, False])
def test_similarity_bias_leaves_cls_row_and_column_out(tiny_vit, add_self_similarity):
    visual = tiny_vit()
    images = images_of(visual)
    cfg = dict(similarity_weight=0.7, temperature=0.1, layer=3, add_self_similarity=add_self_similarity)
    encoder = BoundEncoder(visual, similarity=cfg)
    seen = {}
    encoder.encoder.attend = lambda q, k, v, grid_size, bias: seen.update(bias=bias) or torch.zeros(2, 2, 16, 16)
    encoder.tokens(images)
    bias = seen['bias']
    assert bias.shape == (2, 1, 16, 16)
    assert (bias[:, :, 0] == 0).all() and (bias[..., 0] == 0).all()
    expected = similarity_bias(trunk(visual, images)[3][1], 0.7, 0.1, add_self_similarity)
    torch.testing.assert_close(bias[1, 0], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize('cfg', [dict(scale=0.5), dict(scale=0.0)])
def test_attention_cfg_reaches_the_attention(tiny_vit, cfg):
    visual = tiny_vit()
    images = images_of(visual)
    got = BoundEncoder(visual, dict(type='KK', **cfg), cls_source='last_block').tokens(images)
    block = visual.transformer.resblocks[-1]
    with torch.no_grad():
        block.attn.in_proj_weight[:2 * D] *= (cfg['scale'] * D_HEAD ** 0.5) ** 0.5
        block.attn.in_proj_bias[:2 * D] *= (cfg['scale'] * D_HEAD ** 0.5) ** 0.5
    assert_tokens(got, reference_tokens(visual, images, 'KK', True))


def test_model_type_is_matched_without_regard_to_case(tiny_vit):
    visual = tiny_vit()
    images = images_of(visual)
    lower, usual, alias = (BoundEncoder(visual, name).tokens(images).patches
                           for name in ('experimental', 'Experimental', 'GATED'))
    assert torch.equal(lower, usual) and torch.equal(alias, usual)


@pytest.mark.parametrize('options', [dict(patch_size=14), dict(patch_size=16), dict(patch_size=32), dict(no_ln_pre=True),
                                     dict(patch_dropout=0.5), SIN_COS], ids=str)
@pytest.mark.parametrize('act_layer', [nn.GELU, QuickGELU])
@pytest.mark.parametrize('ls_init_value', [None, 0.3])
def test_vanilla_with_residual_is_open_clip_itself(tiny_vit, options, act_layer, ls_init_value):
    visual = tiny_vit(output_tokens=True, act_layer=act_layer, ls_init_value=ls_init_value, **options)
    images = images_of(visual)
    with torch.no_grad():
        pooled, tokens = visual(images)
        patches = tokens @ visual.proj
    for cls_source in ('clip', 'last_block'):
        encoder = BoundEncoder(visual, 'Vanilla', ignore_residual=False, cls_source=cls_source)
        assert_tokens(encoder.project(encoder.tokens(images)), torch.cat([pooled[:, None], patches], dim=1))


@pytest.mark.parametrize('ignore_residual', [True, False])
@pytest.mark.parametrize('model_type', MODEL_TYPES)
def test_cls_source_clip_is_open_clip_s_own(tiny_vit, model_type, ignore_residual):
    visual = tiny_vit(ls_init_value=0.3)
    images = images_of(visual)
    encoder = BoundEncoder(visual, model_type, ignore_residual)
    with torch.no_grad():
        expected = visual(images)
    torch.testing.assert_close(encoder.project(encoder.tokens(images)).cls_token, expected, atol=2e-5, rtol=1e-4)


def test_project_is_ln_post_and_projection_and_keeps_the_rest(tiny_vit):
    visual = tiny_vit()
    encoder = BoundEncoder(visual)
    tokens = encoder.tokens(images_of(visual), with_attention=True)
    before = tokens.patches.clone()
    embeddings = encoder.project(tokens)
    centred = tokens.patches - tokens.patches.mean(-1, keepdim=True)
    normed = centred / (centred.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * visual.ln_post.weight + visual.ln_post.bias
    torch.testing.assert_close(embeddings.patches, normed @ visual.proj, atol=1e-5, rtol=1e-4)
    assert embeddings.patches.shape == (2, 15, E) and embeddings.cls_token.shape == (2, E)
    assert embeddings.attn is tokens.attn and embeddings.grid_size == (3, 5)
    assert torch.equal(tokens.patches, before)


@pytest.mark.parametrize('attention_layer', [-1, -2, -LAYERS])
def test_attention_is_the_original_one_of_the_chosen_block(tiny_vit, attention_layer):
    visual = tiny_vit()
    images = images_of(visual)
    encoder = BoundEncoder(visual, dict(type='SCLIP', scale=0.01), attention_layer=attention_layer)
    attn = encoder.tokens(images, with_attention=True).attn
    block = visual.transformer.resblocks[attention_layer]
    y = block.ln_1(trunk(visual, images)[LAYERS + attention_layer])
    expected = np.zeros((2, 16, 16))
    for b, head, i in np.ndindex(2, 2, 16):
        q, k, _ = (x.numpy() for x in head_projections(block, y[b], head))
        exponentials = np.exp([sum(q[i] * key) / D_HEAD ** 0.5 for key in k])
        expected[b, i] += exponentials / exponentials.sum() / 2
    np.testing.assert_allclose(attn, expected, atol=2e-6)
    torch.testing.assert_close(attn.sum(-1), torch.ones(2, 16))


HALVES = [torch.bfloat16, pytest.param(torch.float16, marks=pytest.mark.skipif(
    Version(torch.__version__) < Version('2.3'), reason='older torch has no float16 products on the CPU'))]


@pytest.mark.parametrize('dtype', HALVES, ids=str)
def test_attention_of_half_precision_tokens_sums_to_one(dtype):
    q, k = (3 * torch.randn(2, 3, 197, 11) for _ in range(2))
    attn = original_attention(q.to(dtype), k.to(dtype))
    assert attn.dtype == torch.float32
    torch.testing.assert_close(attn.sum(-1), torch.ones(2, 197), atol=1e-6, rtol=0)


def test_attention_of_float32_tokens_is_the_plain_softmax():
    q, k = (3 * torch.randn(2, 3, 197, 11) for _ in range(2))
    assert torch.equal(original_attention(q, k), (q * 11 ** -0.5 @ k.transpose(-2, -1)).softmax(dim=-1).mean(dim=1))


def test_attention_is_computed_only_on_request_and_changes_nothing_else(tiny_vit):
    visual = tiny_vit()
    images = images_of(visual)
    encoder = BoundEncoder(visual, attention_layer=-2)
    without, with_attention = encoder.tokens(images), encoder.tokens(images, with_attention=True)
    assert without.attn is None
    assert torch.equal(without.patches, with_attention.patches) and torch.equal(without.cls_token, with_attention.cls_token)


def test_frozen_from_the_start_and_inside_a_model_that_trains(tiny_vit):
    visual = tiny_vit(patch_dropout=0.5).train()
    images = images_of(visual)
    model = nn.Sequential(BoundEncoder(visual))
    frozen = nn.ModuleList([model[0].tower, model[0].encoder])
    assert not any(module.training for part in frozen for module in part.modules())
    expected = model[0].tokens(images).patches
    model.train()
    assert not any(module.training for part in frozen for module in part.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(model[0].tokens(images).patches, expected) and not expected.requires_grad


@pytest.mark.parametrize('grid_size', [(3, 5), (2, 7)])
def test_windows_in_one_batch_equal_windows_alone(tiny_vit, grid_size):
    encoder = BoundEncoder(tiny_vit(), similarity={})
    images = images_of(encoder.visual, batch=3, grid_size=grid_size)
    together = encoder.tokens(images, with_attention=True)
    for b in range(3):
        alone = encoder.tokens(images[b:b + 1], with_attention=True)
        assert alone.grid_size == grid_size
        torch.testing.assert_close(together.patches[b], alone.patches[0], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(together.cls_token[b], alone.cls_token[0], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(together.attn[b], alone.attn[0], atol=1e-6, rtol=1e-4)


def test_images_may_be_non_contiguous_and_are_not_written_to(tiny_vit):
    encoder = BoundEncoder(tiny_vit())
    images = images_of(encoder.visual).permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    before = images.clone(memory_format=torch.contiguous_format)
    assert not images.is_contiguous()
    torch.testing.assert_close(encoder.tokens(images).patches, encoder.tokens(before).patches, atol=1e-5, rtol=1e-4)
    assert torch.equal(images, before)


def test_what_exceeds_a_multiple_of_the_patch_is_ignored(tiny_vit):
    encoder = BoundEncoder(tiny_vit(), 'NACLIP')
    images = torch.randn(2, 3, 3 * 7 + 6, 5 * 7 + 1)
    got = encoder.tokens(images)
    assert got.grid_size == (3, 5)
    torch.testing.assert_close(got.patches, encoder.tokens(images[:, :, :21, :35]).patches, atol=1e-5, rtol=1e-4)


def test_patch_size_is_height_and_width(tiny_vit):
    assert BoundEncoder(tiny_vit(patch_size=14)).tower.patch_size == (14, 14)


@pytest.mark.parametrize('grid_size', [(3, 5), (5, 2)])
@pytest.mark.parametrize('model_type', SOFTMAX_TYPES)
def test_bfloat16(tiny_vit, model_type, grid_size):
    encoder = BoundEncoder(tiny_vit(), model_type, ignore_residual=False, similarity={})
    images = images_of(encoder.visual, grid_size=grid_size)
    expected = encoder.project(encoder.tokens(images, with_attention=True))
    encoder = encoder.bfloat16()
    got = encoder.project(encoder.tokens(images.bfloat16(), with_attention=True))
    assert got.patches.dtype == got.cls_token.dtype == torch.bfloat16
    similar = torch.cosine_similarity(got.patches.float(), expected.patches, dim=-1)
    assert similar.min() > 0.99
    torch.testing.assert_close(got.attn.float(), expected.attn, atol=0.05, rtol=0.1)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
@pytest.mark.parametrize('model_type', SOFTMAX_TYPES)
def test_cuda_equals_cpu(tiny_vit, model_type):
    encoder = BoundEncoder(tiny_vit(), model_type, similarity={})
    images = images_of(encoder.visual, grid_size=(5, 2))
    expected = encoder.project(encoder.tokens(images, with_attention=True))
    encoder = encoder.cuda()
    got = encoder.project(encoder.tokens(images.cuda(), with_attention=True))
    for name in ('patches', 'cls_token', 'attn'):
        torch.testing.assert_close(getattr(got, name).cpu(), getattr(expected, name), atol=1e-3, rtol=1e-2)


@pytest.mark.parametrize(('options', 'message'), [
    (dict(attention='NaClib'), r"image_encoder.attention.type='NaClib' is unknown; known: .*ClearCLIP.*NACLIP.*Vanilla"),
    (dict(attention=None), r'image_encoder.attention.type=None'),
    (dict(attention=dict(type='NACLIP', gausian_std=3)),
     "no key 'gausian_std' with type='NACLIP'.*; did you mean 'gaussian_std'.*allowed: gaussian_std, scale"),
    (dict(attention=dict(type='KK', gaussian_std=3)),
     "image_encoder.attention has no key 'gaussian_std' .*_delete_=True.*allowed: scale"),
    (dict(attention=dict(type='MaskCLIP', scale=3)), "image_encoder.attention has no key 'scale'.*allowed: none"),
    (dict(attention=dict(type='NACLIP', gaussian_std=0)), 'attention.gaussian_std=0 must be a positive number'),
    (dict(attention=dict(type='NACLIP', scale=float('nan'))), 'attention.scale=nan must be a number'),
    (dict(similarity=dict(wait=1)), "image_encoder.similarity has no key 'wait'.*allowed: .*similarity_weight"),
    (dict(similarity=3), 'image_encoder.similarity=3 must be a dict'),
    (dict(similarity=dict(layer=0)), r'image_encoder.similarity.layer=0 must be an integer >= 1'),
    (dict(similarity=dict(layer=5)), r'image_encoder.similarity.layer=5 .*from 1 to 4'),
    (dict(similarity=dict(layer=2.5)), r'image_encoder.similarity.layer=2.5 must be an integer'),
    (dict(similarity=dict(temperature=0)), r'image_encoder.similarity.temperature=0 must be a positive number'),
    (dict(similarity=dict(temperature=-1.0)), r'image_encoder.similarity.temperature=-1.0 must be a positive number'),
    (dict(attention_layer=0), 'image_encoder.attention_layer=0 must be an integer from .* to -1'),
    (dict(attention_layer=-6), 'image_encoder.attention_layer=-6 must be an integer from -5 to -1'),
    (dict(attention_layer=-1.5), 'image_encoder.attention_layer=-1.5 must be an integer'),
    (dict(cls_source='CLIP'), "image_encoder.cls_source='CLIP' is unknown; known: clip, last_block"),
    (dict(precision='fp8'), "image_encoder.precision='fp8' is unknown; known: fp32, fp16, bf16"),
    (dict(compile=1), 'image_encoder.compile=1 must be True or False'),
    (dict(attention='maskclip', similarity={}), "image_encoder.similarity .*attention.type='MaskCLIP' has none"),
], ids=str)
def test_refuses_what_is_unknown_or_out_of_range(tiny_vit, options, message):
    with pytest.raises(ValueError, match=message):
        BoundEncoder(tiny_vit(), **options)


class TimmModel(nn.Module):
    pass


CUSTOM_BLOCKS = pytest.mark.skipif('block_type' not in signature(VisionTransformer).parameters,
                                   reason='a VisionTransformer of open_clip 2 has plain blocks only')


@pytest.mark.parametrize(('build', 'message'), [
    (lambda vit: ModifiedResNet([1, 1, 1, 1], E, heads=2, image_size=32, width=8), 'is a ModifiedResNet'),
    (lambda vit: TimmModel(), 'is a TimmModel'),
    (lambda vit: vit(attentional_pool=True, attn_pooler_queries=3, attn_pooler_heads=1), r'pools by attention \(CoCa\)'),
    (lambda vit: vit(attentional_pool='parallel', attn_pooler_queries=3, attn_pooler_heads=1), 'pools by attention'),
    (lambda vit: vit(pool_type='avg'), "pools its patches .*'avg'"),
    (lambda vit: vit(pool_type='none'), "pools its patches .*'none'"),
    pytest.param(lambda vit: vit(qk_norm=True), 'has CustomResidualAttentionBlocks', marks=CUSTOM_BLOCKS),
    pytest.param(lambda vit: vit(block_type='custom'), 'has CustomResidualAttentionBlocks', marks=CUSTOM_BLOCKS),
])
def test_refuses_other_image_towers(tiny_vit, build, message):
    with pytest.raises(TypeError, match=message + '.*needs an open_clip VisionTransformer with a class token, e.g. ViT-B-16'):
        BoundEncoder(build(tiny_vit))
