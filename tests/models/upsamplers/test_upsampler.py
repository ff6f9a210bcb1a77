"""Upsamplers in models."""
import copy
import pickle

import pytest
import torch
from torch import nn

from ovseg.models import CLIPSegmentor
from ovseg.models.dense_features import DenseFeatures
from ovseg.models.segmentors.diagnosis import explain_nonfinite
from ovseg.models.towers import loading
from ovseg.models.upsamplers import BilinearUpsampler, Upsampler, upsample
from ovseg.registry import UPSAMPLERS

CLIP = dict(name='ovseg-tiny-clip', pretrained='embedded')
WORDS = dict(names=['red panda', 'grass, lawn', 'sea'], templates=['a {}.'])


class Brighten(Upsampler):
    """Repeats each patch in 3 rows and 2 columns, times a weight and the window's brightest red."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def __call__(self, features, rgb):
        rows, columns = features.grid_size
        index = torch.tensor([r // 3 * columns + c // 2 for r in range(3 * rows) for c in range(2 * columns)])
        brightest = rgb[:, 0].amax(dim=(1, 2)).view(-1, 1, 1)
        return features.replace(patches=features.patches[:, index] * brightest * self.weight,
                                grid_size=(3 * rows, 2 * columns))


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setitem(UPSAMPLERS.module_dict, 'Brighten', Brighten)


def build(upsampler=None, **components):
    return CLIPSegmentor(**{**dict(clip=CLIP, vocabulary=WORDS, windows=dict(crop=64, stride=48), upsampler=upsampler,
                                   decoder=dict(with_seg_logits=True)), **components})


def test_it_stands_behind_the_chain_and_sees_rgb():
    segmentor = build('Brighten', post_processors=['GlobalDebias'])
    rgb = torch.rand(2, 3, 48, 80)
    found = segmentor.embed((rgb - segmentor.mean) / segmentor.std)
    plain = segmentor.variant(upsampler=None).embed((rgb - segmentor.mean) / segmentor.std)
    assert (plain.grid_size, found.grid_size) == ((3, 5), (9, 10))
    for window in range(2):
        for row in range(9):
            for column in range(10):
                expected = plain.patches[window, row // 3 * 5 + column // 2] * rgb[window, 0].max()
                torch.testing.assert_close(found.patches[window, row * 10 + column], expected, atol=1e-5, rtol=1e-4)


def test_probabilities_are_those_of_a_decoder_that_repeats_patches():
    """Repeated patches are interpolated between their own centres, so that the middle of a patch has its own label."""
    segmentor, image = build('Brighten', windows=dict(crop=0)), torch.randn(3, 64, 96)
    result, = segmentor.predict([image])
    patches = segmentor.variant(upsampler=None).embed(image[None]).patches[0]
    texts = segmentor.text_embeddings
    for row in range(4):
        for column in range(6):
            cosines = torch.nn.functional.cosine_similarity(patches[row * 6 + column][None], texts)
            expected = (40 * cosines).softmax(dim=0)
            found = result.seg_logits.data[:, 16 * row + 8, 16 * column + 4]
            expected = torch.stack([expected[0], expected[1:3].max(), expected[3]])
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)


def test_a_scale_of_one_changes_nothing():
    images = [torch.randn(3, 61, 97), torch.randn(3, 97, 61)]
    for found, expected in zip(build(dict(type='BilinearUpsampler', scale=1)).predict(images), build().predict(images)):
        assert torch.equal(found.pred_sem_seg.data, expected.pred_sem_seg.data)


def test_a_finer_grid_changes_scores():
    image = torch.randn(3, 61, 97)
    (found,), (expected,) = (build(upsampler).predict([image]) for upsampler in ('BilinearUpsampler', None))
    assert found.seg_logits.data.shape == (3, 61, 97)
    assert (found.seg_logits.data - expected.seg_logits.data).abs().max() > 1e-4


def test_variants_have_another_or_none():
    segmentor = build(dict(type='BilinearUpsampler', scale=3))
    assert segmentor.variant(decoder={}).upsampler is segmentor.upsampler
    assert segmentor.variant(upsampler=dict(type='BilinearUpsampler', scale=5)).upsampler.scale == 5
    assert segmentor.variant(upsampler=None).upsampler is None and build().upsampler is None
    ready = BilinearUpsampler(7)
    assert build(ready).upsampler is ready


def test_weights_are_part_of_the_model_and_frozen():
    segmentor = build('Brighten')
    assert 'upsampler.weight' in segmentor.state_dict()
    for other in (copy.deepcopy(segmentor), pickle.loads(pickle.dumps(segmentor))):  # noqa: S301
        assert other.upsampler.weight is not segmentor.upsampler.weight


def test_patches_that_are_not_finite_have_no_label():
    segmentor = build('Brighten', windows=dict(crop=0))
    image = torch.randn(3, 64, 96)
    segmentor.upsampler.weight.data.fill_(torch.inf)
    result, = segmentor.predict([image])
    assert (result.pred_sem_seg.data == 255).all() and result.nonfinite_pixels == 64 * 96
    assert explain_nonfinite(segmentor, image) == 'the output of upsampler Brighten is not finite'


# ---- refusals --------------------------------------------------------------------------------------------------------


class Returns(Upsampler):
    def __init__(self, result):
        super().__init__()
        self.result = result

    def __call__(self, features, rgb):
        return self.result(features)


FEATURES = DenseFeatures(torch.randn(2, 15, 7), None, None, (3, 5))


@pytest.mark.parametrize(('result', 'message'), [
    (lambda features: features.replace(grid_size=(6, 10)),
     'upsampler Returns must return patches of shape (2, 60, 7) for its grid of 6 x 10, not (2, 15, 7)'),
    (lambda features: features.replace(patches=torch.randn(2, 60, 7)), 'patches of shape (2, 15, 7) for its grid of 3 x 5'),
    (lambda features: features.replace(patches=torch.randn(2, 15, 5)), 'shape (2, 15, 7)'),
    (lambda features: features.replace(patches=torch.randn(1, 15, 7)), 'shape (2, 15, 7)'),
    (lambda features: features.patches, 'upsampler Returns must return DenseFeatures, not Tensor'),
    (lambda features: None, 'not NoneType')])
def test_results_that_do_not_fit_are_named(result, message):
    with pytest.raises(ValueError) as caught:
        upsample(Returns(result), FEATURES, torch.rand(2, 3, 24, 40))
    assert message in str(caught.value)


class Needs11(BilinearUpsampler):
    def check(self, tower):
        raise ValueError(f'upsampler Needs11 works on a width of 11, not {tower.output_width}')


@pytest.mark.parametrize(('upsampler', 'message'), [
    ('Bilinear', "upsampler.type='Bilinear' is unknown; known: BilinearUpsampler"),
    (dict(type='BilinearUpsampler', scale=0), 'upsampler.scale=0 must be'),
    (dict(type='BilinearUpsampler', factor=2), "upsampler (BilinearUpsampler) has no key 'factor'"),
    (dict(scale=2), 'upsampler.type=None is unknown'), (3, 'upsampler=3 must be a dict with a type'),
    (dict(type=Needs11), 'upsampler Needs11 works on a width of 11, not ')], ids=str)
def test_upsamplers_that_cannot_be_are_refused_before_weights_are_read(upsampler, message, monkeypatch):
    def fail(name, pretrained):
        raise AssertionError('weights are read')
    monkeypatch.setattr(loading, 'load_clip', fail)
    with pytest.raises(ValueError) as caught:
        build(upsampler)
    assert message in str(caught.value)
