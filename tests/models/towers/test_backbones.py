import open_clip
import pytest
import torch
from open_clip.model import _build_vision_tower

from ovseg.models.towers import load_clip, loading
from ovseg.models.towers.backbones import pretrained_backbones
from ovseg.models.towers.open_clip_tower import check_supported

LISTED = {(backbone.clip_model, backbone.pretrained) for backbone in pretrained_backbones()}


class Download(BaseException):
    pass


def image_tower_is_supported(name):
    """Asked of the tower itself, built without memory for its weights."""
    config = open_clip.get_model_config(name)
    if 'timm_model_name' in config['vision_cfg'] or 'multimodal_cfg' in config:
        return False
    with torch.device('meta'):
        tower = _build_vision_tower(config['embed_dim'], config['vision_cfg'], config.get('quick_gelu', False))
    try:
        check_supported(tower)
    except TypeError:
        return False
    return True


def weights_are_accepted(name, tag):
    try:
        load_clip(name, tag)
    except Download:
        return True
    except ValueError as error:
        assert 'GELU' in str(error)
        return False
    raise AssertionError('unreachable')


def test_exactly_what_loader_and_encoder_accept_is_listed(monkeypatch):
    def refuse(*args):
        raise Download

    monkeypatch.setattr(loading, '_download', refuse)
    models = [name for name in open_clip.list_models() if open_clip.list_pretrained_tags_by_model(name)]
    assert {(name, tag) for name in models if image_tower_is_supported(name)
            for tag in open_clip.list_pretrained_tags_by_model(name) if weights_are_accepted(name, tag)} == LISTED


@pytest.mark.parametrize(('right', 'wrong', 'tag'), [
    ('ViT-B-16-quickgelu', 'ViT-B-16', 'openai'), ('ViT-L-14-336-quickgelu', 'ViT-L-14-336', 'openai'),
    ('ViT-B-16', 'ViT-B-16-quickgelu', 'laion2b_s34b_b88k'), ('ViT-H-14-quickgelu', 'ViT-H-14', 'dfn5b')])
def test_a_tag_stands_under_the_model_of_its_activation_alone(right, wrong, tag):
    assert (right, tag) in LISTED and (wrong, tag) not in LISTED


@pytest.mark.parametrize(('kind', 'name'), [
    ('ResNet', 'RN50'), ('a tower of timm', 'ViT-B-16-SigLIP'), ('CoCa', 'coca_ViT-B-32'), ('mean pooling', 'ViT-L-14-CLIPA')])
def test_other_image_towers_are_not_listed(kind, name):
    assert open_clip.list_pretrained_tags_by_model(name)
    assert name not in {clip_model for clip_model, _ in LISTED}


def test_settings_are_those_of_the_model():
    vision, = [backbone.vision for backbone in pretrained_backbones()
               if (backbone.clip_model, backbone.pretrained) == ('ViT-L-14-336-quickgelu', 'openai')]
    assert (vision.patch_size, vision.image_size, vision.layers, vision.width) == (14, 336, 24, 1024)
