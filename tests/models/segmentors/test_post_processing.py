"""The post-processors inside ``CLIPSegmentor``, switched as a user switches them."""
import argparse

import pytest
import torch
from mmengine.config import Config, DictAction
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS

from ovseg.models.dense import WindowBatch, project
from ovseg.models.post_processors import CTD, GlobalDebias, OutlierSuppression, SelfAttnEnhancement

ALL = dict(
    apply_self_attn_enhancement=True,
    self_attn_enhancement_cfg=dict(enhancement_strength=0.3, min_self_attn_threshold=0.25, mode='attention'),
    apply_outlier_suppression=True, outlier_suppression_cfg=dict(top_k=7, contamination_temp=0.4, detector='norm'),
    global_debias_factor=0.9,
    apply_ctd=True, ctd_cfg=dict(metric='cosine', eps=0.6, min_samples=3, factor=0.8, normalize_cls=False))
FEATURE_MODE = dict(apply_self_attn_enhancement=True, self_attn_enhancement_cfg=dict(
    enhancement_strength=3.0, min_self_attn_threshold=0.5, mode='feature'))
ATTENTION_MODE = dict(apply_self_attn_enhancement=True, self_attn_enhancement_cfg=dict(
    enhancement_strength=3.0, min_self_attn_threshold=0.5, mode='attention'))
SUPPRESSION = dict(apply_outlier_suppression=True, outlier_suppression_cfg=dict(top_k=5, contamination_temp=0.8))


def names(segmentor):
    return [type(module).__name__ for module in segmentor.post_processors.modules]


def numbers(segmentor):
    return {type(module).__name__: {key: value for key, value in vars(module).items() if not callable(value)}
            for module in segmentor.post_processors.modules}


@pytest.fixture(scope='module')
def image():
    return torch.randn(3, 97, 131, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope='module')
def windows():
    return torch.randn(2, 3, 80, 112, generator=torch.Generator().manual_seed(5))


# ---- the chain that switches build -----------------------------------------------------------------------------------


def test_switches_build_the_chain_with_their_numbers(build):
    segmentor = build(**ALL)
    assert names(segmentor) == ['SelfAttnEnhancement', 'OutlierSuppression', 'GlobalDebias', 'CTD']
    enhancement, suppression, debias, ctd = segmentor.post_processors.modules
    assert (enhancement.strength, enhancement.threshold, enhancement.mode) == (0.3, 0.25, 'attention')
    assert (suppression.top_k, suppression.contamination_temp, suppression.needs_attention) == (7, 0.4, False)
    assert (debias.factor, debias.normalize_cls) == (0.9, False)
    assert (ctd.metric, ctd.eps, ctd.min_samples, ctd.factor, ctd.normalize_cls) == ('cosine', 0.6, 3, 0.8, False)


def test_switches_without_numbers_take_the_defaults(build):
    segmentor = build(apply_self_attn_enhancement=True, apply_outlier_suppression=True, global_debias_factor=0.2,
                      apply_ctd=True)
    assert numbers(segmentor) == dict(
        SelfAttnEnhancement=dict(strength=0.1, threshold=0.15, mode='feature'),
        OutlierSuppression=dict(top_k=30, contamination_temp=0.1, detector='cls_ratio', needs_attention=True,
                                needs_cls=True),
        GlobalDebias=dict(factor=0.2, normalize_cls=False),
        CTD=dict(metric='euclidean', eps=1.1, min_samples=11, factor=1.5, normalize_cls=True))


def test_without_switches_there_is_no_chain(build):
    assert names(build()) == []
    assert names(build(outlier_suppression_cfg=dict(top_k=3), ctd_cfg=dict(), global_debias_factor=0)) == []


def test_post_processors_replace_the_chain(build):
    own = [dict(type='CTD', eps=0.7), dict(type='GlobalDebias', factor=0.4, normalize_cls=True)]
    segmentor = build(post_processors=own)
    assert names(segmentor) == ['CTD', 'GlobalDebias']
    assert numbers(segmentor)['GlobalDebias'] == dict(factor=0.4, normalize_cls=True)
    assert numbers(segmentor)['CTD']['eps'] == 0.7


def parse(*options):
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    return parser.parse_args(['--cfg-options', *options]).cfg_options


def built(base, *options):
    cfg = Config(dict(model=dict(type='CLIPSegmentor', clip_model='ovseg-tiny-clip', pretrained=None, name_path=['cat', 'sea'],
                                 **base)))
    cfg.merge_from_dict(parse(*options))
    with DefaultScope.overwrite_default_scope('mmseg'):
        return MODELS.build(cfg.model)


OPTIONS = [
    'model.apply_self_attn_enhancement=True', 'model.self_attn_enhancement_cfg.enhancement_strength=0.3',
    'model.self_attn_enhancement_cfg.min_self_attn_threshold=0.25', 'model.self_attn_enhancement_cfg.mode=attention',
    'model.apply_outlier_suppression=True', 'model.outlier_suppression_cfg.top_k=10',
    'model.outlier_suppression_cfg.contamination_temp=0.4', 'model.outlier_suppression_cfg.detector=norm',
    'model.global_debias_factor=0.9', 'model.apply_ctd=True', 'model.ctd_cfg.metric=cosine', 'model.ctd_cfg.eps=0.6',
    'model.ctd_cfg.min_samples=3', 'model.ctd_cfg.factor=0.8', 'model.ctd_cfg.normalize_cls=False']
GIVEN = dict(SelfAttnEnhancement=dict(strength=0.3, threshold=0.25, mode='attention'),
             OutlierSuppression=dict(top_k=10, contamination_temp=0.4, detector='norm', needs_attention=False,
                                     needs_cls=False),
             GlobalDebias=dict(factor=0.9, normalize_cls=False),
             CTD=dict(metric='cosine', eps=0.6, min_samples=3, factor=0.8, normalize_cls=False))


@pytest.mark.parametrize('base', [
    dict(),
    dict(self_attn_enhancement_cfg=dict(mode='feature'), outlier_suppression_cfg=dict(top_k=30), ctd_cfg=dict())], ids=str)
def test_every_switch_is_reachable_from_the_command_line(base):
    assert numbers(built(base, *OPTIONS)) == GIVEN


def test_switches_can_be_turned_off_from_the_command_line():
    segmentor = built(ALL, 'model.apply_self_attn_enhancement=False', 'model.apply_outlier_suppression=False',
                      'model.global_debias_factor=0', 'model.apply_ctd=False')
    assert names(segmentor) == []


def test_modules_of_a_list_are_reachable_by_their_index():
    base = dict(post_processors=[dict(type='GlobalDebias'), dict(type='CTD')])
    segmentor = built(base, 'model.post_processors.0.factor=0.7', 'model.post_processors.1.eps=0.4')
    assert numbers(segmentor)['GlobalDebias']['factor'] == 0.7 and numbers(segmentor)['CTD']['eps'] == 0.4


@pytest.mark.parametrize('given', ['[GlobalDebias,CTD]', 'GlobalDebias,CTD'])
def test_a_chain_can_be_given_on_the_command_line_from_nothing(given):
    segmentor = built({}, f'model.post_processors={given}')
    assert names(segmentor) == ['GlobalDebias', 'CTD']
    assert numbers(segmentor)['GlobalDebias']['factor'] == 0.2


def with_attention(segmentor, windows):
    batch = WindowBatch(windows, segmentor.mean, segmentor.std)
    return segmentor.image_encoder.tokens(segmentor.tower, batch, with_attention=True)


# ---- what they do ----------------------------------------------------------------------------------------------------


def test_feature_mode_alone_leaves_labels_unchanged(build, image):
    """LayerNorm divides by a patch's length, cosine scores do so again."""
    plain, enhanced = build(), build(**FEATURE_MODE)
    windows = image[None, :, :80, :112]
    before, after = (segmentor.post_processors(with_attention(segmentor, windows), 'tokens').patches
                     for segmentor in (plain, enhanced))
    assert (after - before).abs().max() > 0.1 * before.abs().max()  # it did act
    expected, found = (segmentor.predict([image])[0] for segmentor in (plain, enhanced))
    torch.testing.assert_close(found.seg_logits.data, expected.seg_logits.data, atol=1e-3, rtol=1e-3)
    assert torch.equal(found.pred_sem_seg.data, expected.pred_sem_seg.data)
    assert len(expected.pred_sem_seg.data.unique()) > 1


def test_attention_mode_changes_embeddings(build, windows):
    before, after = (build(**cfg).extract_feat(windows).patches for cfg in ({}, ATTENTION_MODE))
    cosine = torch.nn.functional.cosine_similarity(before, after, dim=-1)
    assert cosine.min() < 0.999


def test_feature_mode_acts_through_outlier_suppression(build, windows):
    """Scaled patches weigh more in what replaces and cleans others."""
    before, after = (build(**cfg).extract_feat(windows).patches for cfg in (SUPPRESSION, {**FEATURE_MODE, **SUPPRESSION}))
    cosine = torch.nn.functional.cosine_similarity(before, after, dim=-1)
    assert cosine.min() < 0.9999 and cosine.max() > 0.99999


@pytest.mark.parametrize('switch', [
    SUPPRESSION, dict(global_debias_factor=0.9), dict(apply_ctd=True, ctd_cfg=dict(min_samples=2)), ATTENTION_MODE], ids=str)
def test_every_other_switch_changes_probabilities(build, image, switch):
    before, after = (build(**cfg).predict([image])[0].seg_logits.data for cfg in ({}, switch))
    assert (after - before).abs().max() > 1e-5


def test_embeddings_equal_the_modules_by_hand(build, windows):
    segmentor = build(**ALL)
    features = SelfAttnEnhancement(0.3, 0.25, 'attention')(with_attention(segmentor, windows))
    features = project(segmentor.tower, OutlierSuppression(7, 0.4, 'norm')(features))
    features = CTD('cosine', 0.6, 3, 0.8, False)(GlobalDebias(0.9)(features))
    torch.testing.assert_close(segmentor.extract_feat(windows).patches, features.patches)


def test_a_batch_of_windows_equals_windows_alone(build, windows):
    segmentor = build(**ALL)
    alone = torch.cat([segmentor.extract_feat(window[None]).patches for window in windows])
    torch.testing.assert_close(segmentor.extract_feat(windows).patches, alone, atol=1e-5, rtol=1e-4)


OFF = [dict(apply_self_attn_enhancement=False, apply_outlier_suppression=False, global_debias_factor=0.0, apply_ctd=False),
       dict(apply_self_attn_enhancement=True, self_attn_enhancement_cfg=dict(enhancement_strength=0, mode='attention'),
            apply_outlier_suppression=True, outlier_suppression_cfg=dict(top_k=0), apply_ctd=True, ctd_cfg=dict(factor=0)),
       dict(post_processors=[])]


@pytest.mark.parametrize('off', OFF, ids=['switched off', 'numbers of zero', 'an empty list'])
def test_everything_off_equals_no_chain(build, windows, off):
    expected, found = build().extract_feat(windows), build(**off).extract_feat(windows)
    assert torch.equal(found.patches, expected.patches) and torch.equal(found.cls_token, expected.cls_token)


# ---- attention on demand ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(('cfg', 'needed'), [
    (dict(), False), (dict(global_debias_factor=0.2), False), (dict(apply_ctd=True), False),
    (dict(apply_outlier_suppression=True), True), (dict(apply_self_attn_enhancement=True), True),
    (dict(apply_outlier_suppression=True, outlier_suppression_cfg=dict(detector='lof')), False),
    (dict(post_processors=[dict(type='OutlierSuppression'), dict(type='CTD')]), True),
    (dict(post_processors=[dict(type='CTD')]), False)], ids=str)
def test_attention_is_computed_only_when_needed(build, windows, monkeypatch, cfg, needed):
    segmentor = build(**cfg)
    encoder, asked = segmentor.image_encoder, []
    tokens = encoder.tokens

    def spy(*args, **kwargs):
        features = tokens(*args, **kwargs)
        asked.append(features.attn is not None)
        return features
    monkeypatch.setattr(encoder, 'tokens', spy)
    segmentor.extract_feat(windows)
    assert asked == [needed]


# ---- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(('cfg', 'texts'), [
    (dict(apply_outlier_supression=True),
     ("'apply_outlier_supression'", "did you mean 'apply_outlier_suppression'", 'apply_ctd', 'self_attn_enhancement_cfg',
      'global_debias_factor', 'post_processors')),
    (dict(ctd_cfgs=dict()), ("'ctd_cfgs'", "did you mean 'ctd_cfg'", 'outlier_suppression_cfg')),
    (dict(apply_outlier_suppression=True, outlier_suppression_cfg=dict(topk=3)),
     ("'topk'", "did you mean 'top_k'", 'contamination_temp', 'detector')),
    (dict(outlier_suppression_cfg=dict(topk=3)), ("'topk'", "did you mean 'top_k'", 'contamination_temp', 'detector')),
    (dict(self_attn_enhancement_cfg=dict(strength=1)),
     ("'strength'", 'enhancement_strength', 'min_self_attn_threshold', 'mode')),
    (dict(ctd_cfg=dict(radius=1)), ("'radius'", 'eps', 'metric', 'min_samples', 'normalize_cls')),
    (dict(global_debias_factor=-0.2), ('global_debias_factor=-0.2', '>= 0')),
    (dict(apply_outlier_suppression=True, outlier_suppression_cfg=dict(top_k=-1)), ('top_k=-1', '>= 0')),
    (dict(apply_outlier_suppression=True, outlier_suppression_cfg=dict(detector='iqr')),
     ("detector='iqr'", 'cls_ratio', 'lof')),
    (dict(apply_ctd=True, ctd_cfg=dict(eps=0)), ('eps=0', 'positive')),
    (dict(apply_ctd=True, post_processors=[dict(type='CTD')]), ('apply_ctd', 'post_processors')),
    (dict(global_debias_factor=0.2, post_processors=[]), ('global_debias_factor', 'post_processors')),
    (dict(apply_ctd=True, apply_outlier_suppression=True, post_processors=[]),
     ('apply_ctd', 'apply_outlier_suppression', 'post_processors')),
    (dict(post_processors=[dict(type='Blur')]),
     ("type='Blur'", 'CTD, GlobalDebias, LPOSS, OutlierSuppression, SelfAttnEnhancement')),
    (dict(post_processors=[dict(type='CTD'), dict(type='OutlierSuppression')]),
     ('post_processors', 'OutlierSuppression works on tokens', 'CTD')),
], ids=str)
def test_bad_switches_are_refused(build, cfg, texts):
    with pytest.raises(ValueError) as caught:
        build(**cfg)
    assert all(text in str(caught.value) for text in texts), str(caught.value)
