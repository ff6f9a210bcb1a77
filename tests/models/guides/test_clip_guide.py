import pytest
import torch

from ovseg.inference.windows import Windows
from ovseg.models.guides import CLIPGuide
from ovseg.models.towers import OpenCLIPTower
from ovseg.models.window_batch import WindowBatch


@pytest.fixture
def tower(tiny_vit):
    return OpenCLIPTower(tiny_vit())


@pytest.fixture
def batch():
    return WindowBatch(torch.randn(2, 3, 21, 35), torch.zeros(3, 1, 1), torch.ones(3, 1, 1))


@torch.no_grad()
def hooked(tower, batch, module):
    """Inputs and outputs of a module of open_clip's own tower."""
    found = []
    module.register_forward_hook(lambda module, args, output: found.extend([args[0], output]))
    tower.visual(batch.images)
    return found


@pytest.mark.parametrize('layer', [1, 3, 5])
def test_tokens_leave_the_block(tower, batch, layer):
    patches, grid_size = CLIPGuide(layer)(tower, batch)
    _, expected = hooked(tower, batch, tower.visual.transformer.resblocks[layer - 1])
    assert grid_size == (3, 5)
    torch.testing.assert_close(patches, expected[:, 1:], atol=1e-5, rtol=1e-4)


def test_the_default_is_the_middle_block(tower, batch):
    assert torch.equal(CLIPGuide()(tower, batch).patches, CLIPGuide(2)(tower, batch).patches)


@pytest.mark.parametrize('features', ['q', 'k', 'v', 'qk'])
@pytest.mark.parametrize('layer', [1, 4])
def test_queries_keys_and_values_are_those_of_the_block(tower, batch, layer, features):
    block = tower.visual.transformer.resblocks[layer - 1]
    _, x = hooked(tower, batch, block.ln_1)
    parts = dict(zip('qkv', (x @ block.attn.in_proj_weight.T + block.attn.in_proj_bias).split(22, dim=-1)))
    expected = parts['q'] + parts['k'] if features == 'qk' else parts[features]
    patches, grid_size = CLIPGuide(layer, features)(tower, batch)
    assert grid_size == (3, 5)
    torch.testing.assert_close(patches, expected[:, 1:], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(('cfg', 'message'), [
    (dict(layer=0), 'CLIPGuide layer=0 must be an integer >= 1'), (dict(layer=2.0), 'CLIPGuide layer=2.0'),
    (dict(features='x'), "CLIPGuide features='x' is unknown; known: tokens, q, k, v, qk")], ids=str)
def test_settings_that_cannot_be_are_refused(cfg, message):
    with pytest.raises(ValueError, match=message):
        CLIPGuide(**cfg)


def test_a_block_that_the_tower_does_not_have_is_refused(tower):
    CLIPGuide(5).check(tower, Windows())
    with pytest.raises(ValueError, match='CLIPGuide layer=6 must be an integer from 1 to 5'):
        CLIPGuide(6).check(tower, Windows())
