import math
import re

import pytest
import torch

from ovseg.models.segmentors.switches import NESTED_ONLY, PLACES
from ovseg.vocabulary import bundled_class_lists

KNOWN_ATTENTIONS = ('Vanilla', 'MaskCLIP', 'SCLIP', 'ClearCLIP', 'NACLIP', 'KK', 'SFP', 'SegEarth', 'Experimental', 'Gated')


REFUSALS = [
    (dict(slide_cropp=224), ("'slide_cropp'", "did you mean 'slide_crop'", 'allowed:', 'name_path')),
    (dict(completely_else=1), ("'completely_else'", 'allowed:', 'slide_stride')),
    (dict(model_type='GatedCLIP'), ("image_encoder.attention.type='GatedCLIP'", *KNOWN_ATTENTIONS)),
    (dict(name_path=['cat', '']), ('class 1', 'empty name')),
    (dict(name_path=['cat', 'dog, cat']), ("'cat' stands twice", 'class 0', 'class 1')),
    (dict(name_path=[]), ('no classes',)),
    (dict(slide_stride=68), ('windows.stride=68', 'windows.crop=67')),
    (dict(slide_stride=0), ('windows.stride=0', 'from 1')),
    (dict(slide_stride=-3), ('windows.stride=-3', 'from 1')),
    (dict(slide_crop=15, slide_stride=7), ('windows.crop=15', '16 pixels', '0 takes the whole image')),
    (dict(slide_crop=-1), ('windows.crop=-1', '0 for the whole image')),
    (dict(prob_thd=-0.1), ('prob_thd=-0.1', '[0, 1]')),
    (dict(prob_thd=1.1), ('prob_thd=1.1', '[0, 1]')),
    (dict(prob_thd=math.nan), ('prob_thd=nan', '[0, 1]')),
    (dict(bg_idx=3), ('bg_idx=3', '3 classes')),
    (dict(bg_idx=-1), ('decoder.bg_idx=-1', '>= 0')),
    (dict(logit_scale=0), ('logit_scale=0', 'positive')),
    (dict(logit_scale=-40), ('logit_scale=-40', 'positive')),
    (dict(logit_scale=math.nan), ('logit_scale=nan', 'positive')),
    (dict(logit_scale=math.inf), ('logit_scale=inf',)),
    (dict(logit_scale=2e38), ('decoder.logit_scale * (1 + |decoder.cls_token_lambda|)=2e+38', '[0, 1e+38]')),
    (dict(logit_scale=1e20, cls_token_lambda=-1e20), ('decoder.logit_scale * (1 + |decoder.cls_token_lambda|)=1e+40',)),
    (dict(attention_cfg=dict(scale=math.nan)), ('image_encoder.attention.scale=nan',)),
    (dict(attention_cfg=dict(scale=math.inf)), ('image_encoder.attention.scale=inf',)),
    (dict(model_type='NACLIP', attention_cfg=dict(gaussian_std=math.nan)), ('image_encoder.attention.gaussian_std=nan',)),
    (dict(pad_mode='reflect'), ("pad_mode='reflect'", 'center', 'none')),
    (dict(window_batch_size=0), ('windows.batch_size=0', '>= 1')),
    (dict(window_batch_size=-2), ('windows.batch_size=-2', '>= 1')),
    (dict(window_batch_size='all'), ("windows.batch_size='all'", 'known: auto')),
    (dict(precision='int8'), ("precision='int8'", 'fp32, fp16, bf16')),
    (dict(compile='yes'), ("compile='yes'", 'True or False')),
    (dict(decode_memory_mb=0), ('decoder.memory_mb=0', 'positive')),
    (dict(area_thd=1.5), ('area_thd=1.5', '[0, 1]')),
    (dict(cls_token_lambda=math.inf), ('cls_token_lambda=inf',)),
    (dict(refine=dict(type='CRF')), ("decoder.refiner.type='CRF'", 'PAMR')),
    (dict(refine=dict(type='PAMR', steps=3)), ("'steps'", 'num_iter', 'dilations')),
    (dict(prompt_templates=['a photo']), ("'a photo'", 'exactly one {}')),
    (dict(prompt_templates='imagenet'), ("vocabulary.templates='imagenet'", 'imagenet80')),
    (dict(prompt_templates=3), ('vocabulary.templates=3', 'imagenet80', 'list')),
    (dict(clip_model=3), ('clip.name=3', 'a name')),
    (dict(pretrained=3), ('pretrained=3', 'a tag, a path')),
    (dict(attention_cfg=5), ('attention_cfg=5', 'a dict')),
    (dict(similarity_enhancement_cfg=[1, 2]), ('similarity_enhancement_cfg=[1, 2]', 'a dict')),
    (dict(refine=3), ('decoder.refiner=3', 'PAMR')),
    (dict(prompt_templates=[]), ('vocabulary.templates=[]', 'empty')),
    (dict(cls_source='mean'), ("cls_source='mean'", 'clip', 'last_block')),
    (dict(attention_layer=-5), ('attention_layer=-5', 'from -4 to -1')),
    (dict(attention_cfg=dict(scael=1)), ("'scael'", "did you mean 'scale'")),
    (dict(apply_similarity_enhancement=True, similarity_enhancement_cfg=dict(similarity_wieght=1)),
     ("'similarity_wieght'", "did you mean 'similarity_weight'", 'temperature')),
    (dict(similarity_enhancement_cfg=dict(similarity_wieght=1)), ("'similarity_wieght'", "did you mean 'similarity_weight'")),
    (dict(data_preprocessor=dict(type='SegDataPreProcessor', test_cfg=dict(size_divisor=32))),
     ("data_preprocessor.test_cfg={'size_divisor': 32} pads images", 'leave test_cfg out', 'pad_mode')),
    (dict(data_preprocessor=dict(type='SegDataPreProcessor', test_cfg=dict(size=(97, 131)))),
     ("data_preprocessor.test_cfg={'size': (97, 131)}",)),
    (dict(data_preprocessor=dict(type='ImgDataPreprocessor', pad_size_divisor=32)),
     ("data_preprocessor.type='ImgDataPreprocessor' pads", 'OVSegDataPreProcessor')),
]


@pytest.mark.parametrize(('cfg', 'parts'), REFUSALS, ids=[str(cfg) for cfg, _ in REFUSALS])
def test_bad_settings_are_refused_with_what_was_given_and_what_is_allowed(build, cfg, parts):
    with pytest.raises(ValueError) as error:
        build(**cfg)
    for part in parts:
        assert part in str(error.value)


@pytest.mark.parametrize('cfg', [dict(slide_crop=67.5), dict(slide_stride=41.5), dict(window_batch_size=2.5), dict(bg_idx=0.5)],
                         ids=str)
def test_numbers_that_count_must_be_whole(build, cfg):
    (key, value), = cfg.items()
    place = {**PLACES, **NESTED_ONLY}[key]
    with pytest.raises((ValueError, TypeError), match=f'{place}={value}'):
        build(**cfg)


def test_an_unknown_class_list_is_answered_with_the_bundled_ones(build):
    with pytest.raises(FileNotFoundError, match=r"vocabulary\.names='ade20'") as error:
        build(name_path='ade20')
    for name in bundled_class_lists():
        assert name in str(error.value)


def test_without_padding_an_image_under_one_patch_is_refused(build):
    with pytest.raises(ValueError, match=r"13 pixels.*pad_mode='center'"):
        build(pad_mode='none').predict([torch.randn(3, 97, 13)])


def test_stride_is_not_looked_at_for_whole_images(build):
    assert build(slide_crop=0, slide_stride=112).windows.crop == 0


@pytest.mark.parametrize('shape', [(5, 31, 43), (31, 43), (1, 3, 31, 43), (1, 31, 43)])
def test_what_is_no_image_of_three_channels_is_refused(build, shape):
    with pytest.raises(ValueError, match=rf'an image must have shape \(3, H, W\), not {re.escape(str(shape))}'):
        build().predict([torch.zeros(shape)])


@pytest.mark.parametrize('shape', [(3, 0, 43), (3, 31, 0)])
def test_an_image_without_pixels_is_refused(build, shape):
    with pytest.raises(ValueError, match='the image is empty'):
        build().predict([torch.zeros(shape)])


@pytest.mark.parametrize('window_batch_size', [32, 'auto'])
def test_no_images_give_no_samples(build, window_batch_size):
    assert build(window_batch_size=window_batch_size).predict([]) == []
