import math

import pytest

from ovseg.models.post_processors import GlobalDebias, PostProcessor
from ovseg.models.segmentors.switches import (
    CHAIN,
    FLAT,
    KEYWORDS,
    NESTED_ONLY,
    PLACES,
    module_keyword,
    nested_model,
    switch_value,
)
from ovseg.registry import POST_PROCESSORS

SWITCHES = dict(apply_self_attn_enhancement=(True, 'SelfAttnEnhancement'),
                apply_outlier_suppression=(True, 'OutlierSuppression'),
                global_debias_factor=(0.2, 'GlobalDebias'), apply_ctd=(True, 'CTD'))
OFF = dict(apply_self_attn_enhancement=False, apply_outlier_suppression=False, global_debias_factor=0, apply_ctd=False)


class Sharpen(PostProcessor):
    """A module of somebody else's."""

    stage = 'embeddings'

    def __call__(self, features):
        return features


@pytest.fixture
def sharpen(monkeypatch):
    monkeypatch.setitem(POST_PROCESSORS.module_dict, 'Sharpen', Sharpen)


def refusal(*args, **kwargs):
    with pytest.raises(ValueError) as caught:
        nested_model(*args, **kwargs)
    return str(caught.value)


def types(model):
    return [module['type'] if isinstance(module, dict) else module for module in model['post_processors']]


def test_the_whole_flat_form():
    assert nested_model({}, dict(
        clip_model='ViT-B-16', pretrained=None, name_path=['a'], prompt_templates='plain', model_type='NACLIP',
        attention_cfg=dict(gaussian_std=3), ignore_residual=False, apply_similarity_enhancement=True,
        similarity_enhancement_cfg=dict(layer=2), apply_self_attn_enhancement=True, apply_outlier_suppression=True,
        outlier_suppression_cfg=dict(top_k=7), global_debias_factor=0.3, apply_ctd=True, ctd_cfg=dict(eps=0.5), logit_scale=50,
        prob_thd=0.1, bg_idx=1, slide_crop=67, slide_stride=41, pad_mode='none')) == dict(
            clip=dict(name='ViT-B-16', pretrained=None), vocabulary=dict(names=['a'], templates='plain'),
            image_encoder=dict(attention=dict(type='NACLIP', gaussian_std=3), ignore_residual=False, similarity=dict(layer=2)),
            windows=dict(crop=67, stride=41, pad_mode='none'), decoder=dict(logit_scale=50, prob_thd=0.1, bg_idx=1),
            post_processors=[dict(type='SelfAttnEnhancement'), dict(type='OutlierSuppression', top_k=7),
                             dict(type='GlobalDebias', factor=0.3), dict(type='CTD', eps=0.5)])


def test_no_switch_changes_nothing():
    model = dict(clip=object(), decoder=dict(prob_thd=0.1), post_processors=['CTD'])
    assert nested_model(model, {}) == model


def test_what_is_given_is_not_changed():
    model = dict(image_encoder=dict(attention=dict(type='NACLIP', gaussian_std=3)), decoder={},
                 post_processors=[dict(type='CTD')])
    before = repr(model)
    nested_model(model, dict(attention_cfg=dict(scale=2), prob_thd=0.3, ctd_cfg=dict(eps=2), apply_outlier_suppression=True,
                             apply_similarity_enhancement=True), replace=True)
    assert repr(model) == before


# ---- one place each ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('name', PLACES)
def test_a_switch_beside_its_own_component_is_refused_with_both_named(name):
    *parents, key = PLACES[name].split('.')
    model = {key: 'old'}
    for parent in reversed(parents):
        model = {parent: model}
    place = PLACES[name]
    assert refusal(model, {name: 'new'}) == f"{name}='new' and {place}='old' are two forms of one setting: keep {place}"


@pytest.mark.parametrize('name', PLACES)
def test_an_option_replaces_what_the_config_has(name):
    *parents, key = PLACES[name].split('.')
    model = {key: 'old'}
    for parent in reversed(parents):
        model = {parent: model}
    found = nested_model(model, {name: 'new'}, replace=True)
    for parent in parents:
        found = found[parent]
    assert found == {key: 'new'}
    assert switch_value(nested_model(model, {name: 'new'}, replace=True), name) == 'new'


def test_flat_and_nested_settings_may_stand_in_one_component():
    assert nested_model(dict(decoder=dict(memory_mb=3)), dict(prob_thd=0.2)) == dict(decoder=dict(memory_mb=3, prob_thd=0.2))


def test_an_object_takes_no_flat_settings():
    assert 'post_processors=' in refusal(dict(post_processors=GlobalDebias()), dict(apply_ctd=True))


@pytest.mark.parametrize('name', NESTED_ONLY)
def test_settings_of_components_alone_are_refused_with_their_place(name):
    component, key = NESTED_ONLY[name].split('.')
    message = refusal({}, {name: 1})
    assert repr(name) in message and f'{component}=dict({key}=...)' in message and f'model.{component}.{key}=' in message


def test_an_unknown_name_lists_the_known():
    message = refusal({}, dict(slide_cropp=3))
    assert "did you mean 'slide_crop'" in message and all(name in message for name in (*FLAT, 'clip', 'windows'))


@pytest.mark.parametrize(('model', 'switches', 'message'), [
    (dict(windows=[]), dict(slide_crop=3), r'windows=\[\] must be a config'),
    (dict(vocabulary='ade20k'), dict(name_path=['a']), "vocabulary='ade20k' must be a config"),
    (dict(image_encoder=dict(attention=None)), dict(model_type='KK'), 'attention=None must be a dict, or a type alone'),
    (dict(image_encoder=dict(attention=3)), dict(attention_cfg={}), 'attention=3 must be a dict, or a type alone'),
    (dict(image_encoder=[]), dict(apply_similarity_enhancement=True), r'image_encoder=\[\] must be a config'),
    (dict(image_encoder=dict(similarity=3)), dict(similarity_enhancement_cfg=dict(layer=1)), 'similarity=3 must be a dict'),
    (dict(post_processors=dict(type='CTD')), dict(apply_ctd=False), 'post_processors=.* must be a config'),
    ({}, dict(model_type='SCLIP', attention_cfg=dict(type='KK')), 'attention_cfg=.* its type is model_type')], ids=str)
def test_components_of_another_shape_are_refused(model, switches, message):
    with pytest.raises(ValueError, match=message):
        nested_model(model, switches, replace=True)


def test_keywords_beside_a_flat_type_stay():
    model = dict(image_encoder=dict(attention=dict(gaussian_std=2.0)))
    assert nested_model(model, dict(model_type='NACLIP')) == dict(
        image_encoder=dict(attention=dict(type='NACLIP', gaussian_std=2.0)))


# ---- attention and similarity ------------------------------------------------------------------------------------------


@pytest.mark.parametrize('attention', ['NACLIP', dict(type='NACLIP', gaussian_std=3)])
def test_another_attention_keeps_no_keywords(attention):
    model = dict(image_encoder=dict(attention=attention, ignore_residual=False))
    found = nested_model(model, dict(model_type='SCLIP'), replace=True)
    assert found == dict(image_encoder=dict(attention=dict(type='SCLIP'), ignore_residual=False))
    found = nested_model(model, dict(model_type='KK', attention_cfg=dict(scale=2)), replace=True)
    assert found['image_encoder']['attention'] == dict(type='KK', scale=2)


@pytest.mark.parametrize(('model', 'expected'), [
    ({}, dict(type='Gated', scale=2)), (dict(image_encoder='LastBlockEncoder'), dict(type='Gated', scale=2)),
    (dict(image_encoder=dict(attention='KK')), dict(type='KK', scale=2)),
    (dict(image_encoder=dict(attention=dict(type='NACLIP', gaussian_std=3))), dict(type='NACLIP', gaussian_std=3, scale=2)),
], ids=str)
def test_keywords_alone_are_those_of_the_attention_there(model, expected):
    assert nested_model(model, dict(attention_cfg=dict(scale=2)), replace=True)['image_encoder']['attention'] == expected


@pytest.mark.parametrize(('before', 'switches', 'after'), [
    (None, dict(apply_similarity_enhancement=True), {}),
    (None, dict(similarity_enhancement_cfg=dict(layer=2)), None),
    (None, dict(apply_similarity_enhancement=True, similarity_enhancement_cfg=dict(layer=2)), dict(layer=2)),
    (dict(layer=3, temperature=2), dict(similarity_enhancement_cfg=dict(layer=2)), dict(layer=2, temperature=2)),
    (dict(layer=3), dict(apply_similarity_enhancement=True), dict(layer=3)),
    (dict(layer=3), dict(apply_similarity_enhancement=False), None)], ids=str)
def test_similarity_on_a_config(before, switches, after):
    model = {} if before is None else dict(image_encoder=dict(similarity=before))
    found = nested_model(model, switches, replace=True)
    assert found['image_encoder'].get('similarity') == after
    assert switch_value(found, 'apply_similarity_enhancement') == (after is not None)


@pytest.mark.parametrize('switches', [dict(apply_similarity_enhancement=False), dict(similarity_enhancement_cfg={})])
def test_similarity_in_both_forms_is_refused(switches):
    message = refusal(dict(image_encoder=dict(similarity={})), switches)
    assert next(iter(switches)) in message and 'image_encoder.similarity={}' in message


# ---- the chain ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('combination', range(16))
def test_switched_modules_stand_in_the_fixed_order(combination):
    on = [switch for bit, switch in enumerate(SWITCHES) if combination >> bit & 1]
    found = nested_model({}, {**OFF, **{switch: SWITCHES[switch][0] for switch in reversed(on)}})
    assert types(found) == [SWITCHES[switch][1] for switch in on]
    assert {switch for switch in SWITCHES if switch_value(found, switch)} == set(on)


@pytest.mark.parametrize('missing', SWITCHES)
def test_a_module_is_added_at_its_place_and_taken_out_again(missing):
    order = [type_ for _, type_ in SWITCHES.values()]
    chain = [dict(type=type_) for type_ in order if type_ != SWITCHES[missing][1]]
    added = nested_model(dict(post_processors=chain), {missing: SWITCHES[missing][0]}, replace=True)
    assert types(added) == order
    assert nested_model(added, {missing: OFF[missing]}, replace=True)['post_processors'] == chain


@pytest.mark.parametrize(('chain', 'switch', 'expected'), [
    (['Sharpen'], 'apply_outlier_suppression', ['OutlierSuppression', 'Sharpen']),
    (['Sharpen'], 'apply_ctd', ['Sharpen', 'CTD']),
    (['CTD', 'Sharpen'], 'global_debias_factor', ['GlobalDebias', 'CTD', 'Sharpen']),
    (['OutlierSuppression', 'Sharpen', 'GlobalDebias'], 'apply_self_attn_enhancement',
     ['SelfAttnEnhancement', 'OutlierSuppression', 'Sharpen', 'GlobalDebias'])])
def test_places_beside_modules_of_others(sharpen, chain, switch, expected):
    assert types(nested_model(dict(post_processors=chain), {switch: SWITCHES[switch][0]}, replace=True)) == expected


def test_a_module_that_is_there_keeps_its_keywords_and_stands_once():
    chain = [dict(type='OutlierSuppression', top_k=3), 'CTD']
    found = nested_model(dict(post_processors=chain), dict(apply_outlier_suppression=True, apply_ctd=True), replace=True)
    assert found['post_processors'] == chain


@pytest.mark.parametrize('chain', [['OutlierSuppression'], [dict(type='OutlierSuppression', top_k=3, eps=2)]], ids=str)
def test_keywords_alone_are_those_of_the_module_there(chain):
    found = nested_model(dict(post_processors=chain), dict(outlier_suppression_cfg=dict(top_k=10)), replace=True)
    module, = found['post_processors']
    assert module == {**(chain[0] if isinstance(chain[0], dict) else {}), 'type': 'OutlierSuppression', 'top_k': 10}
    assert module_keyword(found, 'OutlierSuppression', 'top_k') == 10


def test_the_factor_alone_changes_the_module_there():
    found = nested_model(dict(post_processors=[dict(type='GlobalDebias', factor=1, normalize_cls=True)]),
                         dict(global_debias_factor=0.3), replace=True)
    assert found['post_processors'] == [dict(type='GlobalDebias', factor=0.3, normalize_cls=True)]
    assert switch_value(found, 'global_debias_factor') == 0.3


def test_defaults_of_keywords_are_those_of_the_module():
    assert module_keyword({}, 'OutlierSuppression', 'top_k') == 30
    assert module_keyword(dict(post_processors=['OutlierSuppression']), 'OutlierSuppression', 'top_k') == 30


@pytest.mark.parametrize('switch', SWITCHES)
@pytest.mark.parametrize('own', [[dict(type='CTD')], []])
def test_own_modules_and_a_switch_exclude_each_other(switch, own):
    message = refusal(dict(post_processors=own), {switch: SWITCHES[switch][0]})
    assert 'post_processors' in message and switch in message
    assert not any(other in message for other in SWITCHES if other != switch)


def test_own_modules_and_switches_that_are_off():
    own = [dict(type='CTD')]
    assert nested_model(dict(post_processors=own), dict(apply_outlier_suppression=False))['post_processors'] == own
    assert 'apply_ctd' in refusal(dict(post_processors=own), dict(apply_ctd=False))


# ---- values ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(('name', 'key', 'meant'), [
    ('self_attn_enhancement_cfg', 'enhancement_strenght', 'enhancement_strength'),
    ('outlier_suppression_cfg', 'topk', 'top_k'), ('ctd_cfg', 'min_sample', 'min_samples'),
    ('similarity_enhancement_cfg', 'similarity_wieght', 'similarity_weight')])
@pytest.mark.parametrize('on', [True, False])
def test_unknown_keywords_are_refused_even_of_modules_that_are_off(name, key, meant, on):
    message = refusal({}, {name: {key: 1}, 'apply_' + name[:-len('_cfg')]: on})
    assert f'{name} has no key {key!r}' in message and f"did you mean '{meant}'" in message and 'allowed:' in message


@pytest.mark.parametrize('factor', [-0.2, math.nan, '0.2'])
def test_a_bad_factor_is_refused(factor):
    assert f'global_debias_factor={factor!r} must be a number >= 0' in refusal({}, dict(global_debias_factor=factor))


@pytest.mark.parametrize('name', ['apply_ctd', 'apply_similarity_enhancement', 'apply_outlier_suppression'])
@pytest.mark.parametrize('value', [1, 'yes', None])
def test_switches_are_true_or_false(name, value):
    assert f'{name}={value!r} must be True or False' in refusal({}, {name: value})


@pytest.mark.parametrize('name', [*KEYWORDS, *(module.keywords for module in CHAIN if module.keywords)])
def test_keywords_must_be_a_dict(name):
    assert f'{name}=3 must be a dict' in refusal({}, {name: 3})


@pytest.mark.parametrize('name', ['self_attn_enhancement', 'outlier_suppression', 'ctd', 'similarity_enhancement'])
def test_keywords_of_a_module_that_is_off_are_logged_as_without_effect(name, monkeypatch):
    key = dict(self_attn_enhancement='mode', outlier_suppression='top_k', ctd='eps', similarity_enhancement='layer')[name]
    messages = []
    monkeypatch.setattr('ovseg.models.segmentors.switches.print_log', lambda message, logger: messages.append(message))
    for on in (False, True):
        nested_model({}, {f'{name}_cfg': {key: 3}, f'apply_{name}': on})
    assert messages == [f"{name}_cfg={{'{key}': 3}} has no effect: apply_{name} is off"]


def test_keywords_of_none_are_defaults():
    assert nested_model({}, dict(apply_ctd=True, ctd_cfg=None))['post_processors'] == [dict(type='CTD')]
