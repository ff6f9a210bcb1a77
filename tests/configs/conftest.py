from copy import deepcopy
from functools import cache
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS

import ovseg  # noqa: F401  registers CLIPSegmentor
from ovseg.models.towers import load_clip
from ovseg.models.segmentors import clip_segmentor

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
    return load_clip('ovseg-tiny-clip', None)


@pytest.fixture
def build(tiny_clip, monkeypatch):
    """The segmentor of a config's model with tiny random weights, or with ``visual``, in place of the real ones."""
    def build_segmentor(model, visual=None):
        shared = {id(parameter): parameter for parameter in tiny_clip.model.parameters()}
        clip = tiny_clip._replace(model=deepcopy(tiny_clip.model, shared))
        clip.model.visual = visual or clip.model.visual
        monkeypatch.setattr(clip_segmentor, 'load_clip', lambda clip_model, pretrained: clip)
        with DefaultScope.overwrite_default_scope('mmseg'):
            return MODELS.build(dict(deepcopy(model), clip_model='ovseg-tiny-clip', pretrained=None))
    return build_segmentor
