import pytest
import torch
from open_clip.modified_resnet import ModifiedResNet
from torch import nn

from ovseg.models.towers import ImageTower, OpenCLIPTower, TimmTower, image_tower
from tests.tiny_timm import TOWERS, tiny_clip


def test_a_vit_of_open_clip(tiny_vit):
    assert type(image_tower(tiny_vit())) is OpenCLIPTower


@pytest.mark.parametrize('kind', TOWERS)
def test_vits_of_timm(kind):
    assert type(image_tower(tiny_clip(kind).visual)) is TimmTower


def test_what_has_no_adapter_is_named_with_those_that_have_one():
    with pytest.raises(TypeError, match=r'^the image tower is a ModifiedResNet; ovseg needs a ViT with a patch grid of one of '
                                        r'the classes VisionTransformer, TimmModel\b'):
        image_tower(ModifiedResNet([1, 1, 1, 1], 13, heads=2, image_size=32, width=8))


def test_an_adapter_that_refuses_says_why(tiny_vit):
    with pytest.raises(TypeError, match=r"pools its patches \(pool_type='avg'\)"):
        image_tower(tiny_vit(pool_type='avg'))


@torch.no_grad()
@pytest.mark.parametrize('settings', [{}, dict(no_ln_pre=True, ls_init_value=0.3), dict(final_ln_after_pool=True)], ids=str)
def test_pooled_is_the_image_embedding_of_open_clip(tiny_vit, settings):
    visual = tiny_vit(**settings)
    images = torch.randn(2, 3, 21, 35)
    expected = visual(images)
    torch.testing.assert_close(image_tower(visual).pooled(images), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_run_of_the_interface_is_the_block_of_open_clip(tiny_vit):
    tower = image_tower(tiny_vit(ls_init_value=0.3))
    x, grid_size = tower.embed(torch.randn(2, 3, 14, 49))
    for block in tower.blocks:
        expected = block(x)
        torch.testing.assert_close(ImageTower.run(tower, block, x, grid_size), expected, atol=1e-5, rtol=1e-5)
        x = expected


def test_adapters_of_others_can_be_added(monkeypatch):
    class Host(nn.Module):
        pass

    with pytest.raises(TypeError, match='is a Host'):
        image_tower(Host())
    image_tower.register(Host, lambda visual: ('tower of', visual))
    host = Host()
    assert image_tower(host) == ('tower of', host)
