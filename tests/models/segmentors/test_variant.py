"""Segmentors of the same weights with other components."""
import copy

import pytest
import torch

from ovseg.inference.windows import Windows
from ovseg.models import CLIPSegmentor
from ovseg.models.decoder import Decoder
from ovseg.models.towers import load_clip, loading
from ovseg.vocabulary import Vocabulary

ONE_EACH = dict(
    vocabulary=dict(names=['cat', 'dog, puppy'], templates=['{}']), image_encoder=dict(attention='KK', similarity={}),
    post_processors=['OutlierSuppression'], windows=dict(crop=53, stride=29), decoder=dict(with_seg_logits=True, logit_scale=7))


def probabilities_of(segmentor, image):
    return segmentor.predict([image])[0].seg_logits.data


@pytest.fixture
def image():
    return torch.randn(3, 71, 97)


@pytest.fixture
def no_loading(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError('weights are loaded')
    monkeypatch.setattr(loading, 'load_clip', refuse)
    monkeypatch.setattr(loading, 'describe_tower', refuse)


@pytest.mark.parametrize('key', ONE_EACH)
def test_it_equals_a_segmentor_built_so(build, image, key, request):
    segmentor = build()
    old = dict(vocabulary=dict(names=segmentor.vocabulary.names, templates=segmentor.vocabulary.templates),
               windows=dict(crop=67, stride=41), decoder=dict(with_seg_logits=True))
    torch.manual_seed(7)
    expected = CLIPSegmentor(clip=dict(name='ovseg-tiny-clip', pretrained=None), **{**old, key: ONE_EACH[key]})
    unchanged = probabilities_of(build(), image)
    request.getfixturevalue('no_loading')
    variant = segmentor.variant(**{key: ONE_EACH[key]})
    assert torch.equal(probabilities_of(variant, image), probabilities_of(expected, image))
    assert torch.equal(probabilities_of(segmentor, image), unchanged)


def test_weights_are_the_same_tensors(build, request):
    segmentor = build()
    request.getfixturevalue('no_loading')
    variant = segmentor.variant(**ONE_EACH)
    mine, others = dict(segmentor.named_parameters()), dict(variant.named_parameters())
    assert mine.keys() == others.keys() and all(mine[name] is others[name] for name in mine)


def test_a_component_is_replaced_whole(build):
    segmentor = build(prob_thd=0.3, bg_idx=1)
    assert segmentor.variant(decoder=dict(logit_scale=7)).decoder == Decoder(logit_scale=7)
    assert segmentor.variant(windows={}).windows == Windows()
    assert segmentor.variant(decoder=dict(logit_scale=7)).windows == segmentor.windows
    assert segmentor.variant(post_processors=[]).post_processors.modules == []


def test_components_may_be_objects(build):
    words, windows, decoder = Vocabulary(['cat', 'dog']), Windows(crop=0), Decoder(logit_scale=3)
    variant = build().variant(vocabulary=words, windows=windows, decoder=decoder)
    assert (variant.vocabulary, variant.windows, variant.decoder) == (words, windows, decoder)


def test_another_precision_copies_the_tower_once_and_leaves_it_alone(build, image):
    segmentor = build()
    expected = probabilities_of(segmentor, image)
    first, second = (segmentor.variant(image_encoder=dict(attention=name, precision='bf16')) for name in ('KK', 'Gated'))
    assert first.tower is second.tower is not segmentor.tower
    assert first.text_encoder is segmentor.text_encoder
    assert (first.tower.dtype, segmentor.tower.dtype) == (torch.bfloat16, torch.float32)
    assert torch.equal(probabilities_of(segmentor, image), expected)
    assert torch.equal(probabilities_of(second, image), probabilities_of(build(precision='bf16'), image))


def test_other_weights_reach_other_precisions(build, image):
    segmentor, other = build(), build()
    segmentor.variant(image_encoder=dict(precision='bf16'))
    for parameter in other.parameters():
        parameter.data = parameter.data.flip(0)
    segmentor.load_state_dict(other.state_dict())
    first, second = (model.variant(image_encoder=dict(precision='bf16')) for model in (segmentor, other))
    assert torch.equal(first.tower.visual.proj, second.tower.visual.proj)


def test_a_precision_copy_that_loads_weights_keeps_them_for_its_variants(build):
    clip = load_clip('ovseg-tiny-clip', None)
    half = CLIPSegmentor(clip=clip, vocabulary=dict(names=['cat', 'dog']), image_encoder=dict(precision='bf16'))
    half.load_state_dict({name: torch.full_like(value, 0.5) for name, value in half.state_dict().items()})
    assert half.variant(windows=dict(crop=0)).tower is half.tower and (half.tower.visual.proj == 0.5).all()


def test_siblings_encode_their_names_anew_after_a_load(build):
    first, other = build(), build()
    sibling = first.variant()
    before = sibling.text_embeddings
    for parameter in other.parameters():
        parameter.data = parameter.data.flip(0)
    first.load_state_dict(other.state_dict())
    assert (sibling.text_embeddings - before).abs().max() > 0.05
    assert torch.equal(sibling.text_embeddings, first.text_embeddings)


def test_text_embeddings_that_were_set_stay_in_variants_of_the_same_vocabulary(build):
    segmentor = build()
    segmentor.text_embeddings = segmentor.text_embeddings[[1, 0, 2, 3]]
    assert torch.equal(segmentor.variant(windows={}).text_embeddings, segmentor.text_embeddings)
    changed = segmentor.variant(vocabulary=dict(names=segmentor.vocabulary.names, templates=segmentor.vocabulary.templates))
    assert not torch.equal(changed.text_embeddings, segmentor.text_embeddings)


@pytest.mark.parametrize(('name', 'value', 'message'), [
    ('decoder', 3, 'decoder=3 is no component of that kind'), ('windows', dict(crop=3), 'windows='),
    ('post_processors', ['CTD'], 'post_processors='), ('upsampler', 3, 'upsampler=3'),
    ('image_encoder', 'KK', 'image_encoder='),
    ('decoder', Decoder(bg_idx=7), 'decoder.bg_idx=7 must be an integer from 0 to 2'),
    ('vocabulary', Vocabulary(['cat', 'dog']), 'vocabulary cannot be set'),
    ('text_embeddings', torch.full((4, 128), torch.nan), 'must be a tensor of finite numbers'),
    ('text_embeddings', None, 'must be a tensor of finite numbers')], ids=range(9))
def test_a_live_model_takes_no_wrong_component(build, name, value, message):
    with pytest.raises((AttributeError, ValueError), match=message):
        setattr(build(), name, value)


def test_half_precision_cannot_become_full_again(build):
    with pytest.raises(ValueError, match=r"image_encoder.precision: the weights are in torch.bfloat16 .*precision='fp32'"):
        build(precision='bf16').variant(image_encoder=dict(precision='fp32'))


def test_a_clip_serves_several_segmentors(image):
    clip = load_clip('ovseg-tiny-clip', 'embedded')
    one, other = (CLIPSegmentor(clip=clip, vocabulary=dict(names=names), image_encoder=dict(precision=precision))
                  for names, precision in ((['cat', 'dog'], 'fp32'), (['sky', 'sea', 'sand'], 'bf16')))
    assert one.tower is clip.image_tower and one.text_encoder is other.text_encoder is clip.text_encoder
    assert clip.image_tower.dtype == torch.float32
    assert one.predict([image])[0].pred_sem_seg.data.max() < 2


def test_variants_of_a_copy_have_the_copy_s_weights(build, image):
    segmentor = build()
    other = copy.deepcopy(segmentor)
    with torch.no_grad():
        other.tower.visual.conv1.weight.zero_()
    assert not torch.equal(probabilities_of(other.variant(), image), probabilities_of(segmentor.variant(), image))
    assert torch.equal(probabilities_of(other.variant(), image), probabilities_of(other, image))


def test_it_is_in_the_mode_of_its_segmentor(build):
    segmentor = build()
    assert segmentor.variant().training == segmentor.training
    assert not segmentor.eval().variant().training


@pytest.mark.parametrize(('components', 'message'), [
    (dict(clip=dict(name='ovseg-tiny-clip', pretrained=None)), "variant has no key 'clip'"),
    (dict(slide_crop=3), "variant has no key 'slide_crop'"),
    (dict(windows=dict(crop=15, stride=3)), r'windows.crop=15 is under one patch \(16 pixels\)'),
    (dict(decoder=dict(bg_idx=3)), 'decoder.bg_idx=3 must be an integer from 0 to 2'),
    (dict(vocabulary=dict(name=3)), "vocabulary has no key 'name'; did you mean 'names'"),
    (dict(vocabulary=dict(templates='plain')), "vocabulary has no 'names'"),
    (dict(windows=3), 'windows=3 must be a dict with the keys of Windows: crop, stride'),
    (dict(image_encoder=dict(type='Blurry')), r"image_encoder.type='Blurry' is unknown; known: .*LastBlockEncoder"),
    (dict(image_encoder=3), r'image_encoder=3 must be a dict with a type'),
    (dict(decoder=dict(refiner=3)), r'decoder.refiner=3 must be a dict with a type'),
    (dict(image_encoder=dict(similarity=dict(layer=4))), r'image_encoder.similarity.layer=4 .*from 1 to 3'),
    (dict(image_encoder=dict(attention_layer=-5)), r'image_encoder.attention_layer=-5 .*from -4 to -1'),
], ids=str)
def test_what_cannot_be_is_refused(build, components, message):
    with pytest.raises(ValueError, match=message):
        build().variant(**components)


@pytest.mark.parametrize('name', ['prob_thd', 'slide_crop', 'with_seg_logits', 'pretrained', 'name_path', 'apply_ctd'])
def test_settings_cannot_be_set_on_a_live_model(build, name):
    with pytest.raises(AttributeError, match=rf'{name} cannot be set: .*variant\('):
        setattr(build(), name, 1)


def test_components_cannot_be_written_to(build):
    segmentor = build()
    for component, key in ((segmentor.decoder, 'prob_thd'), (segmentor.windows, 'crop'), (segmentor.vocabulary, 'names')):
        with pytest.raises(AttributeError, match=key):
            setattr(component, key, 3)


def test_text_embeddings_may_be_set(build, image):
    segmentor = build()
    rows = segmentor.text_embeddings
    segmentor.text_embeddings = rows[[1, 0, 2, 3]].double()
    assert segmentor.text_embeddings.dtype == torch.float32 and torch.equal(segmentor.text_embeddings, rows[[1, 0, 2, 3]])
    with pytest.raises(ValueError, match=r'text_embeddings of shape \(3, 128\) must have shape \(4, 128\)'):
        segmentor.text_embeddings = rows[:3]


# ---- before weights are read -------------------------------------------------------------------------------------------


@pytest.mark.parametrize('cfg', [
    dict(vocabulary=dict(names=[])), dict(image_encoder=dict(attention='NaClib')), dict(post_processors=['Sharpen']),
    dict(windows=dict(crop=15, stride=3)), dict(decoder=dict(prob_thd=3)), dict(decoder=dict(bg_idx=7)),
    dict(image_encoder=dict(similarity=dict(layer=99))), dict(post_processors=['CTD', 'OutlierSuppression']),
    dict(clip=dict(name='ovseg-tiny-clip')), dict(clip=dict(name='ovseg-tiny-clip', pretrained='embedded', precision='fp16')),
    dict(clip=3), dict(decoder=[]), dict(unknown=3), dict(init_cfg=dict(type='Pretrained'))], ids=str)
def test_nothing_is_loaded_for_what_is_refused(monkeypatch, cfg):
    loaded = []
    monkeypatch.setattr(loading, '_load', lambda *args: loaded.append(args))
    given = dict(clip=dict(name='ovseg-tiny-clip', pretrained='embedded'), vocabulary=dict(names=['cat', 'dog']))
    with pytest.raises(ValueError):
        CLIPSegmentor(**{**given, **cfg})
    assert loaded == []
    CLIPSegmentor(**given)
    assert len(loaded) == 1


@pytest.mark.parametrize('missing', ['clip', 'vocabulary'])
def test_what_is_missing_is_named_with_an_example(missing):
    given = dict(clip=dict(name='ovseg-tiny-clip', pretrained=None), vocabulary=dict(names=['cat', 'dog']))
    del given[missing]
    with pytest.raises(ValueError, match=rf"CLIPSegmentor has no '{missing}', e\.g\. {missing}=dict\("):
        CLIPSegmentor(**given)


def test_it_has_at_most_twelve_arguments():
    from inspect import signature
    assert len(signature(CLIPSegmentor).parameters) <= 12
