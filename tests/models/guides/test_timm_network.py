"""Features against timm's own forward pass, and against what enters the last block's attention."""
import math

import pytest
import timm
import torch
from packaging.version import Version

from ovseg.models.guides.timm_guide import build_vit
from ovseg.models.guides.timm_network import TimmNetwork
from tests.models.guides.conftest import COLUMNS, MODELS, ROWS, reference_model

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
CLIP_MEAN, CLIP_STD = ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])
PREFIX = {'dino': 1, 'mae': 1, 'dinov2': 1, 'eva02': 1, 'sam': 0, 'sam-windowed': 0}


def network(kind, model, features, dtype=torch.float32):
    own = build_vit(*MODELS[kind])
    own.load_state_dict(model.state_dict())
    return TimmNetwork(own, features, dtype)


def normalised(kind, rgb):
    return (rgb - torch.tensor(CLIP_MEAN).view(3, 1, 1)) / torch.tensor(CLIP_STD).view(3, 1, 1) if kind == 'eva02' else \
        (rgb - MEAN) / STD


def cubic(x, a=-0.75):
    x = abs(x)
    if x <= 1:
        return (a + 2) * x ** 3 - (a + 3) * x ** 2 + 1
    return a * (x ** 3 - 5 * x ** 2 + 8 * x - 4) if x < 2 else 0.0


def dino_positions(pos_embed, old, rows, columns):
    """DINO's interpolation to ``(1, 1 + rows * columns, D)``, one patch at a time: bicubic, scale (new + 0.1) / old."""
    def taps(index, new):
        centre = (index + 0.5) * old / (new + 0.1) - 0.5
        return [(min(max(source, 0), old - 1), cubic(centre - source))
                for source in range(math.floor(centre) - 1, math.floor(centre) + 3)]
    cells = [sum(a * b * pos_embed[0, 1 + y * old + x] for y, a in taps(i, rows) for x, b in taps(j, columns))
             for i in range(rows) for j in range(columns)]
    return torch.stack([pos_embed[0, 0], *cells]).unsqueeze(0)


def with_dino_positions(model):
    """timm's DINO for windows of the tests' size alone."""
    own = timm.create_model(MODELS['dino'][0], num_classes=0, img_size=(ROWS * 8, COLUMNS * 8), **MODELS['dino'][1]).eval()
    state = dict(model.state_dict(), pos_embed=dino_positions(model.pos_embed, 28, ROWS, COLUMNS))
    own.load_state_dict(state)
    return own.requires_grad_(False)


def reference(kind):
    model = reference_model(kind)
    return model, with_dino_positions(model) if kind == 'dino' else model


def test_tokens_are_those_of_timm(kind, rgb):
    model, plain = reference(kind)
    expected = plain.forward_features(normalised(kind, rgb))
    if kind.startswith('sam'):
        expected = torch.stack([expected[:, :, i, j] for i in range(ROWS) for j in range(COLUMNS)], dim=1)
        assert expected.shape[2] == 256
    patches, grid_size = network(kind, model, 'tokens')(rgb)
    assert grid_size == (ROWS, COLUMNS)
    torch.testing.assert_close(patches, expected[:, PREFIX.get(kind, 5):], atol=1e-5, rtol=1e-4)


def last_attention_input(model, images):
    """Input of the last block's attention, ``(B, T, D)``; SAM's blocks cut it into windows behind norm1."""
    found = []
    model.blocks[-1].norm1.register_forward_hook(lambda module, args, output: found.append(output))
    model.forward_features(images)
    return found[0].flatten(1, -2)


def by_hand(model, x):
    """q, k, v ``(B, T, D)``, one head and channel after the other."""
    attention, parts = model.blocks[-1].attn, {}
    for number, letter in enumerate('qkv'):
        if attention.qkv is None:
            linear = getattr(attention, f'{letter}_proj')
            weight, bias = linear.weight, linear.bias
        else:
            weight = attention.qkv.weight[number * 24:(number + 1) * 24]
            bias = getattr(attention, f'{letter}_bias', None)
            if attention.qkv.bias is not None:
                bias = attention.qkv.bias[number * 24:(number + 1) * 24]
        parts[letter] = torch.stack([(x * row).sum(dim=-1) for row in weight], dim=-1) + (0 if bias is None else bias)
    return parts


@pytest.mark.parametrize('features', ['q', 'k', 'v', 'qk'])
def test_queries_keys_and_values_are_those_of_the_last_block(kind, features, rgb):
    model, plain = reference(kind)
    parts = by_hand(plain, last_attention_input(plain, normalised(kind, rgb))[:, PREFIX.get(kind, 5):])
    expected = parts['q'] + parts['k'] if features == 'qk' else parts[features]
    patches, grid_size = network(kind, model, features)(rgb)
    assert grid_size == (ROWS, COLUMNS) and patches.shape == (2, ROWS * COLUMNS, 24)
    torch.testing.assert_close(patches, expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize('kind', ['dino', 'dinov2-reg', 'mae', 'sam'])
def test_by_hand_is_what_the_linear_layer_gives(kind, rgb):
    """The reference of the test above, checked by a hook on timm's own layer where it has one that is called."""
    model, found = reference_model(kind), []
    model.blocks[-1].attn.qkv.register_forward_hook(lambda module, args, output: found.append(output))
    parts = by_hand(model, last_attention_input(model, normalised(kind, rgb)))
    torch.testing.assert_close(found[0], torch.cat([parts['q'], parts['k'], parts['v']], dim=-1), atol=2e-5, rtol=1e-4)


def test_dino_positions_at_the_pretrained_grid_are_left_alone():
    model, rgb = reference_model('dino'), torch.rand(1, 3, 224, 224)
    expected = model.forward_features((rgb - MEAN) / STD)[:, 1:]
    torch.testing.assert_close(network('dino', model, 'tokens')(rgb)[0], expected, atol=1e-5, rtol=1e-4)


def test_dino_positions_differ_from_timms_elsewhere():
    model, rgb = reference_model('dino'), torch.rand(1, 3, ROWS * 8, COLUMNS * 8)
    timms = model.forward_features((rgb - MEAN) / STD)[:, 1:]
    assert (network('dino', model, 'tokens')(rgb)[0] - timms).abs().max() > 0.01


@pytest.mark.parametrize(('dtype', 'tolerance'), [
    pytest.param(torch.float16, 0.02, marks=pytest.mark.skipif(
        Version(torch.__version__) < Version('2.3'), reason='older torch has no float16 convolutions on the CPU')),
    (torch.bfloat16, 0.15)], ids=str)
@pytest.mark.parametrize('features', ['tokens', 'k'])
def test_other_types_are_near(kind, rgb, features, dtype, tolerance):
    model = reference_model(kind)
    expected, _ = network(kind, model, features)(rgb)
    found, _ = network(kind, model, features, dtype)(rgb)
    assert found.dtype == dtype
    assert (found.float() - expected).norm() < tolerance * expected.norm()


def test_windows_do_not_mix_and_nothing_is_trained(kind, rgb):
    guide = network(kind, reference_model(kind), 'tokens')
    both, (first, second) = guide(rgb)[0], (guide(window[None])[0] for window in rgb)
    torch.testing.assert_close(both, torch.cat([first, second]), atol=1e-5, rtol=1e-4)
    assert not any(parameter.requires_grad for parameter in guide.parameters())
    assert not any(module.training for module in guide.train().modules())


def test_windows_that_are_no_multiple_of_the_patch_are_refused(kind):
    guide = network(kind, reference_model(kind), 'tokens')
    patch = guide.patch_size[0]
    for size in ((patch, patch + 1), (2 * patch - 1, patch), (patch - 1, patch)):
        message = f"windows of {size[0]} x {size[1]} pixels are no multiple of the guide's patch of {patch} x {patch}"
        with pytest.raises(ValueError, match=message):
            guide(torch.rand(1, 3, *size))
