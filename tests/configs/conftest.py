from copy import deepcopy
from functools import cache
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS
from open_clip.transformer import VisionTransformer

import ovseg  # noqa: F401  registers CLIPSegmentor
from ovseg.config import merge_options
from ovseg.models.towers import LoadedCLIP, OpenCLIPTower, load_clip

ROOT = Path(__file__).parents[2]


@cache
def load_config(name: str) -> Config:
    return Config.fromfile(ROOT / 'configs' / name)


@pytest.fixture(scope='session')
def load():
    """A config by its path under ``configs/``, read once; not to be changed."""
    return load_config


@pytest.fixture(scope='session')
def tiny_clip():
    """A CLIP with as many blocks as ViT-B/16, whose numbers methods name."""
    loaded = load_clip('ovseg-tiny-clip', None)
    tower = OpenCLIPTower(VisionTransformer(224, 16, 48, 12, 3, 2.0, output_dim=loaded.image_tower.output_width))
    return LoadedCLIP(tower, loaded.text_encoder, loaded.mean, loaded.std)


@pytest.fixture
def model_of(load):
    """The model of a config with flat switches in it, as tools set them."""
    def get(name, **switches):
        cfg = deepcopy(load(name))
        merge_options(cfg, {f'model.{key}': value for key, value in switches.items()}, name)
        return cfg.model
    return get


def without_files(model):
    """A copy of a model's config with small guides, random weights in them and in upsamplers, and superpixels as regions."""
    model = deepcopy(model)
    encoder = model.get('image_encoder', {})
    if 'root' in encoder.get('regions', {}):
        encoder['regions'] = dict(type='SuperpixelRegions')
    for part in (encoder, *model.get('post_processors', [])):
        if part.get('guide', {}).get('type') == 'TimmGuide':
            part['guide'].update(pretrained=None, model_cfg=dict(embed_dim=48, depth=2, num_heads=3))
    if 'pretrained' in (model.get('upsampler') or {}):
        model['upsampler']['pretrained'] = None
    return model


@pytest.fixture
def build(tiny_clip):
    """The segmentor of a config's model with tiny random weights, or with ``visual``, in place of the real ones.

    A guide that is a network of its own becomes a small one with random weights, stored region maps become superpixels.
    """
    def build_segmentor(model, visual=None):
        tower = tiny_clip.image_tower if visual is None else OpenCLIPTower(visual)
        clip = LoadedCLIP(tower, tiny_clip.text_encoder, tiny_clip.mean, tiny_clip.std)
        with DefaultScope.overwrite_default_scope('mmseg'):
            return MODELS.build(dict(without_files(model), clip=clip))
    return build_segmentor
