"""Options of a model, merged as ovseg's tools merge them."""
import pytest
from mmengine.config import Config

from ovseg.config import merge_options, read_config

NESTED = dict(
    type='CLIPSegmentor', clip=dict(name='ovseg-tiny-clip', pretrained=None), vocabulary=dict(names=['cat', 'dog']),
    image_encoder=dict(attention=dict(type='NACLIP', gaussian_std=3.0), ignore_residual=False),
    post_processors=['OutlierSuppression', dict(type='GlobalDebias', factor=0.3)],
    decoder=dict(prob_thd=0.1, refiner=dict(type='PAMR', num_iter=3)))


def merged(options, model=NESTED, **others):
    cfg = Config(dict(model=model, **others))
    merge_options(cfg, options, 'my.py')
    return cfg


def model_of(options, model=NESTED):
    return merged(options, model).model.to_dict()


def changed(**components):
    return {**NESTED, **components}


def test_without_options_a_nested_model_stays():
    assert model_of({}) == NESTED


def test_a_flat_model_is_nested():
    flat = dict(type='CLIPSegmentor', clip_model='ovseg-tiny-clip', pretrained=None, name_path=['cat', 'dog'], slide_crop=67,
                apply_ctd=True, decoder=dict(memory_mb=3), train_cfg=None)
    assert model_of({}, flat) == dict(
        type='CLIPSegmentor', clip=dict(name='ovseg-tiny-clip', pretrained=None), vocabulary=dict(names=['cat', 'dog']),
        windows=dict(crop=67), post_processors=[dict(type='CTD')], decoder=dict(memory_mb=3), train_cfg=None)


def test_both_forms_of_one_setting_in_a_file_are_refused():
    with pytest.raises(ValueError, match=r'prob_thd=0.2 and decoder.prob_thd=0.1 are two forms of one setting'):
        merged({}, changed(prob_thd=0.2))


NESTED_FILE = """
model = dict(type='CLIPSegmentor', clip=dict(name='ovseg-tiny-clip', pretrained=None), vocabulary=dict(names=['cat', 'dog']),
             windows=dict(crop=67, stride=41), post_processors=['CTD'], image_encoder=dict(attention='KK', similarity={}))
"""


@pytest.mark.parametrize(('middle', 'child', 'expected'), [
    ('', 'slide_crop=97', dict(windows=dict(crop=97, stride=41))),
    ('', "name_path=['sea']", dict(vocabulary=dict(names=['sea']))),
    ('', 'apply_outlier_suppression=True', dict(post_processors=[dict(type='OutlierSuppression'), 'CTD'])),
    ('', 'apply_ctd=False', dict(post_processors=[])),
    ('', "model_type='SCLIP'", dict(image_encoder=dict(attention=dict(type='SCLIP'), similarity={}))),
    ('', 'apply_similarity_enhancement=False', dict(image_encoder=dict(attention='KK'))),
    ('slide_crop=97', 'windows=dict(crop=71)', dict(windows=dict(crop=71, stride=41))),
    ('windows=dict(crop=71)', 'slide_crop=97', dict(windows=dict(crop=97, stride=41))),
    ('slide_crop=97', 'slide_stride=43', dict(windows=dict(crop=97, stride=43))),
    ("model_type='NACLIP'", "image_encoder=dict(attention='SCLIP')",
     dict(image_encoder=dict(attention='SCLIP', similarity={}))),
    ("model_type='NACLIP'", "image_encoder={'attention': 'SCLIP'}", dict(image_encoder=dict(attention='SCLIP', similarity={}))),
    ('slide_crop=97', "windows={'crop': 71}", dict(windows=dict(crop=71, stride=41)))], ids=str)
def test_a_file_s_own_form_counts_over_that_of_its_bases(tmp_path, middle, child, expected):
    (tmp_path / 'base.py').write_text(NESTED_FILE)
    (tmp_path / 'middle.py').write_text(f"_base_ = ['base.py']\nmodel = dict({middle})\n")
    (tmp_path / 'child.py').write_text(f"_base_ = 'middle.py'\nmodel = dict({child})\n")
    model = read_config(tmp_path / 'child.py', {}).model.to_dict()
    assert {key: model[key] for key in expected} == expected
    assert not {'slide_crop', 'slide_stride', 'name_path', 'apply_ctd', 'model_type'} & set(model)


@pytest.mark.parametrize('child', ['slide_crop=97, windows=dict(crop=71)', "apply_ctd=True, post_processors=['CTD']"])
def test_both_forms_in_one_file_are_refused_whatever_its_bases(tmp_path, child):
    (tmp_path / 'base.py').write_text(NESTED_FILE)
    (tmp_path / 'child.py').write_text(f"_base_ = ['base.py']\nmodel = dict({child})\n")
    with pytest.raises(ValueError, match=child.split('=')[0]):
        read_config(tmp_path / 'child.py', {})


def test_models_of_others_are_left_alone():
    model = dict(type='EncoderDecoder', pretrained='x', slide_crop=3)
    assert model_of({'model.slide_crop': 5}, model) == dict(model, slide_crop=5)


@pytest.mark.parametrize(('options', 'components'), [
    ({'model.name_path': 'ade20k'}, dict(vocabulary=dict(names='ade20k'))),
    ({'model.slide_crop': 0}, dict(windows=dict(crop=0))),
    ({'model.prob_thd': 0.4}, dict(decoder=dict(NESTED['decoder'], prob_thd=0.4))),
    ({'model.apply_ctd': True}, dict(post_processors=[*NESTED['post_processors'], dict(type='CTD')])),
    ({'model.apply_self_attn_enhancement': True},
     dict(post_processors=[dict(type='SelfAttnEnhancement'), *NESTED['post_processors']])),
    ({'model.apply_outlier_suppression': False}, dict(post_processors=NESTED['post_processors'][1:])),
    ({'model.global_debias_factor': 0}, dict(post_processors=NESTED['post_processors'][:1])),
    ({'model.outlier_suppression_cfg.top_k': 10},
     dict(post_processors=[dict(type='OutlierSuppression', top_k=10), NESTED['post_processors'][1]])),
    ({'model.outlier_suppression_cfg': dict(top_k=10)},
     dict(post_processors=[dict(type='OutlierSuppression', top_k=10), NESTED['post_processors'][1]])),
    ({'model.model_type': 'SCLIP'}, dict(image_encoder=dict(attention=dict(type='SCLIP'), ignore_residual=False))),
    ({'model.attention_cfg.scale': 2.0},
     dict(image_encoder=dict(attention=dict(type='NACLIP', gaussian_std=3.0, scale=2.0), ignore_residual=False))),
    ({'model.apply_similarity_enhancement': True, 'model.similarity_enhancement_cfg.layer': 2},
     dict(image_encoder=dict(NESTED['image_encoder'], similarity=dict(layer=2)))),
], ids=str)
def test_flat_switches_act_on_what_the_config_has(options, components):
    assert model_of(options) == changed(**components)


@pytest.mark.parametrize(('options', 'components'), [
    ({'model.image_encoder.attention.type': 'SCLIP'},
     dict(image_encoder=dict(attention=dict(type='SCLIP'), ignore_residual=False))),
    ({'model.image_encoder.attention.scale': 2.0, 'model.image_encoder.attention.type': 'KK'},
     dict(image_encoder=dict(attention=dict(type='KK', scale=2.0), ignore_residual=False))),
    ({'model.image_encoder.type': 'LastBlockEncoder', 'model.image_encoder.attention.type': 'KK'},
     dict(image_encoder=dict(type='LastBlockEncoder', attention=dict(type='KK')))),
    ({'model.model_type': 'NACLIP', 'model.image_encoder.attention.gaussian_std': 2.0},
     dict(image_encoder=dict(attention=dict(type='NACLIP', gaussian_std=2.0), ignore_residual=False))),
    ({'model.image_encoder.attention': dict(type='KK')},
     dict(image_encoder=dict(attention=dict(type='KK'), ignore_residual=False))),
    ({'model.decoder.refiner.type': 'PAMR'}, dict(decoder=dict(prob_thd=0.1, refiner=dict(type='PAMR')))),
    ({'model.post_processors.1.type': 'CTD'}, dict(post_processors=['OutlierSuppression', dict(type='CTD')])),
    ({'model.post_processors.1.factor': 0.7},
     dict(post_processors=['OutlierSuppression', dict(type='GlobalDebias', factor=0.7)])),
    ({'model.post_processors.0.top_k': 10},
     dict(post_processors=[dict(type='OutlierSuppression', top_k=10), NESTED['post_processors'][1]])),
    ({'model.post_processors': ['GlobalDebias', 'CTD']}, dict(post_processors=['GlobalDebias', 'CTD'])),
    ({'model.windows.batch_size': 5}, dict(windows=dict(batch_size=5))),
], ids=str)
def test_places_of_components(options, components):
    assert model_of(options) == changed(**components)


def test_keywords_of_a_component_that_is_a_type_alone():
    found = model_of({'model.image_encoder.attention.scale': 2.0}, changed(image_encoder=dict(attention='KK')))
    assert found['image_encoder'] == dict(attention=dict(type='KK', scale=2.0))
    found = model_of({'model.image_encoder.precision': 'bf16'}, changed(image_encoder='LastBlockEncoder'))
    assert found['image_encoder'] == dict(type='LastBlockEncoder', precision='bf16')


def test_a_type_replaces_whatever_it_is_of():
    sampler = dict(type='UnfinishedSampler', shuffle=True)
    found = merged({'test_dataloader.sampler.type': 'DefaultSampler'}, test_dataloader=dict(batch_size=3, sampler=sampler))
    assert found.test_dataloader.to_dict() == dict(batch_size=3, sampler=dict(type='DefaultSampler'))


@pytest.mark.parametrize('options', [
    {'model.post_processors': ['CTD'], 'model.apply_ctd': True},
    {'model.global_debias_factor': 0.1, 'model.post_processors': []}], ids=str)
def test_a_whole_chain_beside_its_switches_is_refused(options):
    with pytest.raises(ValueError, match=r'model\.post_processors replaces the whole chain') as error:
        merged(options)
    assert next(key for key in options if key != 'model.post_processors') in str(error.value)


@pytest.mark.parametrize(('options', 'message'), [
    ({'model.apply_ctd': 3}, 'apply_ctd=3 must be True or False'),
    ({'model.ctd_cfg.epsilon': 3}, "ctd_cfg has no key 'epsilon'"),
    ({'model.post_processors.7.top_k': 3}, 'cannot be set in my.py'),
    ({'model.attention_cfg': 3}, 'attention_cfg=3 must be a dict')], ids=str)
def test_what_cannot_be_set_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        merged(options)
