import pytest
import torch
from packaging.version import Version

from ovseg.models.post_processors import PostProcessor
from ovseg.models.segmentors.diagnosis import explain_nonfinite

ALL_MODULES = dict(apply_self_attn_enhancement=True, apply_outlier_suppression=True, global_debias_factor=0.2, apply_ctd=True)
HALF_ON_THE_CPU = pytest.mark.skipif(Version(torch.__version__) < Version('2.3'),
                                     reason='older torch has no float16 convolution on the CPU')


@pytest.fixture
def image():
    return torch.randn(3, 97, 131)


@pytest.mark.parametrize('value', [torch.nan, torch.inf])
def test_an_image(build, image, value):
    image[2, 96, 130] = value
    assert explain_nonfinite(build(**ALL_MODULES), image) == (
        "the network's input is not finite: the image or its normalisation has NaN or Inf")


def test_a_weight(build, image):
    segmentor = build(**ALL_MODULES)
    with torch.no_grad():
        segmentor.tower.visual.ln_post.bias[3] = torch.nan
    assert explain_nonfinite(segmentor, image) == 'the weight visual.ln_post.bias of the image tower is not finite'


@pytest.mark.parametrize('name', ['SelfAttnEnhancement', 'OutlierSuppression', 'GlobalDebias', 'CTD'])
@pytest.mark.parametrize('value', [torch.nan, torch.inf, 1e30], ids=str)  # the square of the last overflows
def test_a_post_processor(build, image, monkeypatch, name, value):
    segmentor = build(**ALL_MODULES)
    module, = (module for module in segmentor.post_processors.modules if type(module).__name__ == name)
    original = type(module).__call__

    def broken(self, features):
        features = original(self, features)
        patches = features.patches.clone()
        patches[-1, -1, 5] = value  # one of the last window
        return features.replace(patches=patches)

    monkeypatch.setattr(type(module), '__call__', broken)
    assert explain_nonfinite(segmentor, image) == f'the output of post-processor {name} is not finite'


class EverySecondWindow(PostProcessor):
    """Breaks the CLS token of windows behind the first pass."""
    stage = 'embeddings'
    passes = 0

    def __call__(self, features):
        self.passes += 1
        return features.replace(cls_token=features.cls_token * (torch.nan if self.passes > 1 else 1))


def test_windows_of_a_later_pass(build, image):
    segmentor = build(post_processors=[EverySecondWindow()], window_batch_size=2)
    assert explain_nonfinite(segmentor, image) == 'the output of post-processor EverySecondWindow is not finite'


def test_the_image_encoder_and_the_projection(build, image):
    segmentor = build(attention_cfg=dict(scale=3e38))
    assert explain_nonfinite(segmentor, image) == 'the output of the image encoder is not finite'
    segmentor = build()
    with torch.no_grad():
        segmentor.tower.visual.proj.mul_(1e25)
    assert explain_nonfinite(segmentor, image) == 'the output of the projection is not finite'


@HALF_ON_THE_CPU
def test_float16_is_named(build, image):
    segmentor = build(precision='fp16')
    with torch.no_grad():
        segmentor.tower.visual.transformer.resblocks[1].mlp.c_proj.weight.mul_(3e5)
    assert explain_nonfinite(segmentor, image) == (
        "the output of the image encoder is not finite; float16 ends at 65504: if it has overflowed, set "
        "image_encoder.precision='bf16' or 'fp32'")
