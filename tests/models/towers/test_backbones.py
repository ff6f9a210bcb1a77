import open_clip
import pytest
import timm

from ovseg.models.towers import load_clip, loading
from ovseg.models.towers.backbones import pretrained_backbones
from ovseg.models.towers.loading import describe_tower

LISTED = {(backbone.clip_model, backbone.pretrained) for backbone in pretrained_backbones()}


class Download(BaseException):
    pass


@pytest.fixture
def shallow(monkeypatch):
    """ViTs have one block, which is built faster."""
    create, configure = timm.create_model, open_clip.get_model_config

    def config_of(name):
        config = configure(name)
        if isinstance(config['vision_cfg'].get('layers'), int):
            config['vision_cfg']['layers'] = 1
        return config

    monkeypatch.setattr(open_clip, 'get_model_config', config_of)
    monkeypatch.setattr(timm, 'create_model', lambda name, **given: create(
        name, **(dict(given, depth=1) if name.startswith(('vit_', 'eva')) else given)))


def family(name):
    """Key of the towers that share an answer: a ViT alone, or all towers of another kind."""
    vision = open_clip.get_model_config(name)['vision_cfg']
    trunk = vision.get('timm_model_name')
    if trunk is None:
        return 'ResNet' if isinstance(vision['layers'], list) else name
    return trunk if trunk.startswith(('vit_', 'eva')) else (trunk.split('_')[0], vision['timm_pool'])


def image_tower_is_supported(name):
    """Asked of the tower itself, built without memory for its weights."""
    try:
        return describe_tower(name).width > 0
    except (TypeError, ValueError) as error:
        assert 'ovseg needs' in str(error) or 'CoCa' in str(error)
        return False


def weights_are_accepted(name, tag):
    try:
        load_clip(name, tag)
    except Download:
        return True
    except ValueError as error:
        assert 'GELU' in str(error)
        return False
    raise AssertionError('unreachable')


@pytest.mark.usefixtures('shallow')
def test_exactly_what_loader_and_encoder_accept_is_listed(monkeypatch):
    def refuse(*args):
        raise Download

    monkeypatch.setattr(loading, '_download', refuse)
    models = {name: family(name) for name in open_clip.list_models() if open_clip.list_pretrained_tags_by_model(name)}
    supported = {kind: image_tower_is_supported(name) for kind, name in {kind: name for name, kind in models.items()}.items()}
    assert {(name, tag) for name, kind in models.items() if supported[kind]
            for tag in open_clip.list_pretrained_tags_by_model(name) if weights_are_accepted(name, tag)} == LISTED


@pytest.mark.parametrize(('right', 'wrong', 'tag'), [
    ('ViT-B-16-quickgelu', 'ViT-B-16', 'openai'), ('ViT-L-14-336-quickgelu', 'ViT-L-14-336', 'openai'),
    ('ViT-B-16', 'ViT-B-16-quickgelu', 'laion2b_s34b_b88k'), ('ViT-H-14-quickgelu', 'ViT-H-14', 'dfn5b')])
def test_a_tag_stands_under_the_model_of_its_activation_alone(right, wrong, tag):
    assert (right, tag) in LISTED and (wrong, tag) not in LISTED


@pytest.mark.parametrize(('kind', 'name'), [
    ('ResNet', 'RN50'), ('ConvNeXt', 'convnext_base'), ('FastViT', 'MobileCLIP-S1'), ('ViTamin', 'ViTamin-L'),
    ('CoCa', 'coca_ViT-B-32'), ('mean pooling', 'ViT-L-14-CLIPA')])
def test_other_image_towers_are_not_listed(kind, name):
    assert open_clip.list_pretrained_tags_by_model(name)
    assert name not in {clip_model for clip_model, _ in LISTED}


@pytest.mark.parametrize('listed', [
    ('ViT-B-16-SigLIP', 'webli'), ('ViT-SO400M-16-SigLIP2-512', 'webli'), ('PE-Core-B-16', 'meta'),
    ('PE-Core-bigG-14-448', 'meta'), ('EVA02-B-16', 'merged2b_s8b_b131k'), ('MobileCLIP-B', 'datacompdr')])
def test_vits_of_timm_are_listed(listed):
    assert listed in LISTED


def test_settings_are_those_of_the_model():
    vision, = [backbone.vision for backbone in pretrained_backbones()
               if (backbone.clip_model, backbone.pretrained) == ('ViT-L-14-336-quickgelu', 'openai')]
    assert (vision.patch_size, vision.image_size, vision.layers, vision.width) == (14, 336, 24, 1024)
