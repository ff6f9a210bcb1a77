import pytest
import torch
from mmengine.registry import DefaultScope

from ovseg.models import CLIPSegmentor
from tests.settings import components

NAMES = ['red panda', 'grass, lawn', 'sea']


@pytest.fixture(scope='session')
def build():
    """Factory of tiny segmentors with the same random weights each time."""
    def build_segmentor(**cfg):
        torch.manual_seed(7)
        defaults = dict(clip_model='ovseg-tiny-clip', pretrained=None, name_path=NAMES, prompt_templates=['a {}.', 'my {}!'],
                        slide_crop=67, slide_stride=41, with_seg_logits=True)
        with DefaultScope.overwrite_default_scope('mmseg'):
            return CLIPSegmentor(**components(**{**defaults, **cfg}))
    return build_segmentor


@pytest.fixture(scope='module')
def segmentor(build):
    return build()
