"""Modules that work on the scores of all patches of an image."""
import pytest
import torch
from torch.nn import functional as F

from ovseg.models import CLIPSegmentor
from ovseg.models.decoder import Decoder
from ovseg.models.guides import CLIPGuide, TimmGuide, build_guide
from ovseg.models.post_processors import ScoreProcessor
from ovseg.models.post_processors.post_processor import TextwiseProcessor
from ovseg.models.towers import loading
from ovseg.registry import POST_PROCESSORS
from ovseg.visualization.inspection import class_scores
from tests.models.segmentors.test_clip_segmentor import pairs, plain_probabilities, same_labels

CLIP = dict(name='ovseg-tiny-clip', pretrained='embedded')
WORDS = dict(names=['red panda', 'grass, lawn', 'sea', 'sky'], templates=['a {}.'])
CLASS_OF_TEXT = [0, 1, 1, 2, 3]
WINDOWS = dict(crop=64, stride=48)
TIMM = dict(type='TimmGuide', model='vit_small_patch8_224.dino', pretrained=None,
            model_cfg=dict(embed_dim=22, depth=2, num_heads=2))


class Nothing(ScoreProcessor):
    def __call__(self, scores):
        return scores


class Bias(ScoreProcessor):
    """Adds a number to the scores of each class."""

    def __init__(self, bias=(0.05, -0.05, 0.0, 0.02)):
        self.bias = torch.tensor(bias)

    def __call__(self, scores):
        return scores.replace(scores=scores.scores + self.bias[scores.class_of])


class Smooth(ScoreProcessor):
    """Replaces each patch's scores by a mean over all patches of the image, weighted by similar features of a guide."""

    def __init__(self, guide='CLIPGuide'):
        self.guide = build_guide('Smooth.guide', guide)
        self.seen = []

    def __call__(self, scores):
        patches, grid_size = scores.guide
        self.seen.append(scores)
        maps = patches.transpose(1, 2).unflatten(2, grid_size)
        own_grid = (scores.layout.rows.cells, scores.layout.cols.cells)
        cells = F.interpolate(maps, own_grid, mode='area').flatten(2).transpose(1, 2)
        unit = F.normalize(cells.flatten(0, 1), dim=-1)
        mixed = (9 * unit @ unit.t()).softmax(dim=-1) @ scores.scores.flatten(0, 1)
        return scores.replace(scores=mixed.view_as(scores.scores))


class Shift(TextwiseProcessor):
    """Adds the first window's mean score of each text to those of all patches, and remembers the shapes that it is given."""

    def __init__(self, result=lambda scores: scores + scores[0].mean(dim=0)):
        self.result, self.seen = result, []

    def prepare(self, layout, guide):
        def function(scores):
            self.seen.append(scores.shape)
            return self.result(scores)
        return function


class Returns(ScoreProcessor):
    def __init__(self, result):
        self.result = result

    def __call__(self, scores):
        return self.result(scores)


def build(post_processors=(), **components):
    return CLIPSegmentor(**{**dict(clip=CLIP, vocabulary=WORDS, windows=WINDOWS, post_processors=list(post_processors),
                                   decoder=dict(with_seg_logits=True)), **components})


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    for module in (Nothing, Bias, Smooth):
        monkeypatch.setitem(POST_PROCESSORS.module_dict, module.__name__, module)


@pytest.fixture
def images():
    return [torch.randn(3, 61, 97), torch.randn(3, 97, 131)]


@pytest.mark.parametrize('decoder', [
    dict(), dict(prob_thd=0.3, bg_idx=2), dict(with_seg_logits=True), dict(area_thd=0.2), dict(cls_token_lambda=-0.3),
    dict(memory_mb=0.01, prob_thd=0.3), dict(refiner=dict(type='PAMR', num_iter=2))], ids=str)
def test_a_module_that_does_nothing_changes_no_label(decoder, images):
    segmentor = build(decoder=decoder)
    for found, expected in pairs(segmentor.variant(post_processors=[Nothing()]).predict(images), segmentor.predict(images)):
        assert same_labels(found.pred_sem_seg.data, expected.pred_sem_seg.data)
        assert len(expected.pred_sem_seg.data.unique()) > 1
        if decoder.get('with_seg_logits'):
            torch.testing.assert_close(found.seg_logits.data, expected.seg_logits.data, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize('window', [dict(crop=64, stride=48), dict(crop=0, stride=1)], ids=str)
def test_a_bias_per_class_gives_the_labels_of_a_plain_loop(window, images):
    segmentor = build(['Bias'], windows=window)
    plain = segmentor.variant(post_processors=[])
    bias = torch.tensor([0.05, -0.05, -0.05, 0.0, 0.02]).view(5, 1, 1)  # of each text
    for image, result, unbiased in zip(images, segmentor.predict(images), plain.predict(images)):
        of_texts = plain_probabilities(lambda window: plain.embed(window[None]).patches[0], image, segmentor.text_embeddings,
                                       range(5), window['crop'], window['stride'], 'center', image.shape[1:])
        of_texts = (of_texts.log() + 40 * bias).softmax(dim=0)
        expected = torch.stack([of_texts[0], of_texts[1:3].amax(dim=0), of_texts[3], of_texts[4]])
        torch.testing.assert_close(result.seg_logits.data, expected, atol=1e-4, rtol=1e-3)
        assert same_labels(result.pred_sem_seg.data[0], expected.argmax(dim=0))
        assert (result.pred_sem_seg.data != unbiased.pred_sem_seg.data).float().mean() > 0.01


def test_labels_without_probabilities_are_the_same(images):
    with_probabilities = build(['Bias'])
    expected = with_probabilities.predict(images)
    for decoder in (dict(), dict(memory_mb=0.01)):
        for found, other in pairs(with_probabilities.variant(decoder=decoder).predict(images), expected):
            assert 'seg_logits' not in found
            assert same_labels(found.pred_sem_seg.data, other.pred_sem_seg.data)


def test_scores_of_a_class_are_those_that_leave_the_stage():
    segmentor = build(['Bias'])
    plain, inputs = segmentor.variant(post_processors=[]), torch.randint(256, (3, 61, 97), dtype=torch.uint8)
    found, before = (class_scores(model, inputs, (31, 47), [3, 1]) for model in (segmentor, plain))
    torch.testing.assert_close(torch.tensor(found - before), torch.tensor([0.02, -0.05]).view(2, 1, 1).expand(2, 31, 47),
                               atol=1e-5, rtol=1e-4)


def test_test_time_probabilities_pass_the_stage(images):
    segmentor = build(['Bias'])
    expected, = segmentor.predict(images[:1])
    torch.testing.assert_close(segmentor.encode_decode(images[0][None])[0], expected.seg_logits.data, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize('guide', [dict(type='CLIPGuide', layer=2, features='v'), TIMM], ids=['CLIPGuide', 'TimmGuide'])
def test_a_module_gets_all_windows_of_an_image_and_its_guide(guide, images):
    segmentor = build([dict(type='Smooth', guide=guide)], windows=dict(**WINDOWS, batch_size=5))
    results = segmentor.predict(images)
    seen = segmentor.post_processors.modules[0].seen
    assert [len(scores.scores) for scores in seen] == [2, 2 * 3]  # a side of 61 has one window, 97 two and 131 three
    for scores, image, result in zip(seen, images, results):
        layout = segmentor.plan(image.shape[1:])
        windows = layout.cut(image)
        assert scores.layout == layout and scores.class_of.tolist() == CLASS_OF_TEXT and scores.count == 4
        unit = F.normalize(segmentor.embed(windows).patches, dim=-1)
        torch.testing.assert_close(scores.scores, unit @ segmentor.text_embeddings.t(), atol=1e-5, rtol=1e-4)
        expected = segmentor.batch(windows).guide(segmentor.post_processors.guides[0])
        assert scores.guide.grid_size == expected.grid_size
        torch.testing.assert_close(scores.guide.patches, expected.patches, atol=1e-5, rtol=1e-4)
        alone, = segmentor.predict([image])
        torch.testing.assert_close(result.seg_logits.data, alone.seg_logits.data, atol=1e-4, rtol=1e-3)


def test_modules_follow_each_other_and_share_guides(images):
    modules = [Smooth(CLIPGuide(2)), Bias(), Smooth(CLIPGuide(2))]
    segmentor = build(modules)
    segmentor.predict(images[:1])
    first, third = modules[0].seen[0], modules[2].seen[0]
    assert third.guide.patches is first.guide.patches and list(segmentor.networks) == [CLIPGuide(2)]
    smoothed = Smooth(CLIPGuide(2))(first)
    torch.testing.assert_close(third.scores, Bias()(smoothed).scores)


def test_it_stands_behind_the_upsampler(images):
    segmentor = build(['Smooth'], upsampler=dict(type='BilinearUpsampler', scale=3))
    segmentor.predict(images[:1])
    scores, = segmentor.post_processors.modules[0].seen
    assert (scores.layout.rows.cells, scores.layout.cols.cells) == (12, 12) and scores.scores.shape[1] == 144
    assert scores.guide.grid_size == (4, 4)


@pytest.mark.parametrize('decoder', [dict(), dict(prob_thd=0.3), dict(at_input_size=True), dict(with_seg_logits=True)], ids=str)
def test_scores_of_a_few_texts_at_a_time_give_the_labels_of_all(decoder, images):
    module = Shift()
    textwise = build([Shift(torch.neg), module], decoder=dict(decoder, memory_mb=0.001))
    whole = build([Shift(torch.neg), Shift(), Nothing()], decoder=decoder)  # Nothing may need all texts
    for found, expected in pairs(textwise.predict(images), whole.predict(images)):
        assert same_labels(found.pred_sem_seg.data, expected.pred_sem_seg.data)
    if not decoder.get('with_seg_logits'):
        assert [shape[2] for shape in module.seen] == [1] * 10 or decoder.get('at_input_size')
        assert max(shape[2] for shape in module.seen) < 5


def test_a_textwise_module_that_changes_the_shape_is_named():
    segmentor = build([Shift(lambda scores: scores[:, :-1])])
    with pytest.raises(ValueError, match='post-processor Shift must keep the shape of its input: it was given scores'):
        segmentor.predict([torch.randn(3, 61, 97)])


def test_class_scores_pass_a_textwise_module():
    inputs = torch.randint(256, (3, 61, 97), dtype=torch.uint8)
    found, expected = (class_scores(build(chain), inputs, (31, 47), [3, 1]) for chain in ([Shift()], [Shift(), Nothing()]))
    torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), atol=1e-5, rtol=1e-4)


def test_without_such_a_module_no_scores_of_all_texts_are_held(images, monkeypatch):
    segmentor = build(decoder={})
    windows, = segmentor.window_patches(images[:1])
    assert segmentor.scored(windows)[0] is windows and segmentor.scored(windows)[1].embeddings is segmentor.text_embeddings
    monkeypatch.setattr(Decoder, '_dense_scores', None)
    monkeypatch.setattr('ovseg.models.decoder.patch_scores', None)
    segmentor.predict(images)


@pytest.mark.parametrize('decoder', [dict(), dict(with_seg_logits=True)], ids=str)
def test_patches_that_are_not_finite_have_no_label(decoder, images, undefined_by_loop):
    images = [image.clone() for image in images]
    images[0][:, 3, 5] = torch.nan
    segmentor = build(decoder=decoder)
    found, expected = (model.predict(images) for model in (segmentor.variant(post_processors=[Nothing()]), segmentor))
    for a, b in pairs(found, expected):
        assert torch.equal(a.pred_sem_seg.data == 255, b.pred_sem_seg.data == 255)
        assert same_labels(a.pred_sem_seg.data, b.pred_sem_seg.data)
    assert found[0].nonfinite_pixels == expected[0].nonfinite_pixels > 0 and 'nonfinite_pixels' not in found[1]


@pytest.mark.parametrize('value', [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize('before', [False, True])
def test_scores_that_a_module_makes_infinite_have_no_label_either(value, before, undefined_by_loop):
    """Also beside patches that were not finite before."""
    image = torch.randn(3, 61, 97)
    broken = torch.zeros(2, 16, dtype=torch.bool)
    broken[1, 6] = True

    def result(scores):
        values = scores.scores.clone()
        values[1, 6, 3] = value
        return scores.replace(scores=values)
    if before:
        image[:, 3, 90] = torch.nan
        broken[1] = True  # attention spreads it over its window
    segmentor = build([Returns(result)])
    expected = torch.from_numpy(undefined_by_loop(broken, (61, 97), 64, 48, (16, 16), 'center', (61, 97)))
    found, = segmentor.predict([image])
    assert torch.equal(found.pred_sem_seg.data[0] == 255, expected)
    assert found.nonfinite_pixels == int(expected.sum()) < 61 * 97


# ---- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(('result', 'message'), [
    (lambda scores: scores.scores, 'post-processor Returns must return PatchScores, not Tensor'),
    (lambda scores: None, 'not NoneType'),
    (lambda scores: scores.replace(scores=scores.scores[:, :-1]),
     'must keep the shape and the layout of its input: it was given scores (2, 16, 5) and returned (2, 15, 5)'),
    (lambda scores: scores.replace(scores=scores.scores[..., :4]), 'returned (2, 16, 4)'),
    (lambda scores: scores.replace(layout=scores.layout.on_grid((2, 8))), 'must keep the shape and the layout')])
def test_results_that_do_not_fit_are_named(result, message):
    with pytest.raises(ValueError) as caught:
        build([Returns(result)]).predict([torch.randn(3, 61, 97)])
    assert message in str(caught.value)


@pytest.mark.parametrize(('chain', 'message'), [
    (['Nothing', 'CTD'], 'CTD works on embeddings and cannot follow Nothing, which works on scores: the stages are tokens, '
                         'embeddings, scores, in this order'),
    (['Nothing', 'OutlierSuppression'], 'OutlierSuppression works on tokens and cannot follow Nothing'),
    ([dict(type='Smooth', guide=dict(type='CLIPGuide', layer=99))], 'CLIPGuide layer=99 must be'),
    ([dict(type='Smooth', guide={**TIMM, 'model': 'vit_small_patch14_dinov2.lvd142m'})], 'its patch of 14 pixels does not fit'),
    ([dict(type='Smooth', guide='DINO')], "Smooth.guide.type='DINO' is unknown")], ids=str)
def test_chains_that_cannot_be_are_refused_before_weights_are_read(chain, message, monkeypatch):
    def fail(*args):
        raise AssertionError('weights are read')
    monkeypatch.setattr(loading, 'load_clip', lambda name, pretrained: fail())
    monkeypatch.setattr(TimmGuide, 'load', fail)
    with pytest.raises(ValueError) as caught:
        build(chain)
    assert message in str(caught.value)


def test_a_module_of_another_stage_is_none():
    class Wrong(Nothing):
        stage = 'embeddings'
    with pytest.raises(ValueError, match=r"Wrong.stage='embeddings': the modules of the stage .scores. are"):
        build([Wrong()])
