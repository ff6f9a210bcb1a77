"""Every config loads; every leaf builds, fits its data set and has the numbers of its method's protocol."""
import re
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import torch
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS

from ovseg.engine import VocabularyCheckHook
from ovseg.models import CLIPSegmentor
from ovseg.sets import FAMILIES, ROWS

CONFIGS = Path(__file__).parents[2] / 'configs'
ALL = sorted(path.relative_to(CONFIGS).as_posix() for path in CONFIGS.rglob('*.py'))
LEAVES = [name for name in ALL if not name.startswith('_base_/') and 'outlier_impute_head' not in name]
PRESETS = [name for name in LEAVES if not name.startswith('demo/')]
LARGE_SHORT_SIDE = [name for name in ALL if re.fullmatch(r'_base_/datasets/.*_448\.py', name)]
EIGHT = ['ade20k', 'cityscapes', 'coco_object', 'coco_stuff164k', 'context59', 'context60', 'voc20', 'voc21']
ELEVEN = sorted([*EIGHT, 'ade20k_847', 'context459', 'coco_stuff10k'])
BACKGROUND = ('voc21', 'context60', 'coco_object')
TABLE = {row.name for family in ('remote sensing', 'MESS') for row in FAMILIES[family]}  # the table has their protocols
REMOTE = sorted(row.name for row in FAMILIES['remote sensing'])


def parts(name):
    """``'gated/gated_vit-b16_ade20k.py'`` -> ``'gated', 'vit-b16', 'ade20k'``."""
    return re.fullmatch(r'\w+/([a-z_-]+)_(vit-[a-z0-9-]+)_(\w+)\.py', name).groups()


@pytest.mark.parametrize('name', ALL)
def test_loads(load, name):
    assert load(name)


@pytest.mark.parametrize('name', LEAVES)
def test_is_short_and_opens_with_its_command(name):
    lines = (CONFIGS / name).read_text().splitlines()
    assert len(lines) <= 15
    opening = [line for line in lines[:2] if line.startswith('# ')]
    assert f'# python tools/test.py configs/{name}' in opening
    if name in PRESETS:
        assert re.search(r'[nN]ot yet measured (here )?on real weights', opening[1])


@pytest.mark.parametrize('name', [  # one method builds all rows of the table in CI
    pytest.param(name, marks=pytest.mark.slow) if name in PRESETS and not name.startswith('gated/') and parts(name)[2] in TABLE
    else name for name in LEAVES])
def test_builds_and_its_class_list_fits_the_data_set(load, build, name):
    cfg = load(name)
    segmentor = build(cfg.model)
    assert isinstance(segmentor, CLIPSegmentor)
    with DefaultScope.overwrite_default_scope('mmseg'):
        kind = DATASETS.get(cfg.test_dataloader.dataset.type)
        name_of_row = cfg.test_dataloader.dataset.get('name')
        metainfo = kind(name_of_row, lazy_init=True).METAINFO if name_of_row else kind.METAINFO
    VocabularyCheckHook().before_test(MagicMock(**{'model': segmentor, 'test_dataloader.dataset.metainfo': metainfo}))
    assert segmentor.out_channels == len(metainfo['classes'])
    if PRESETS.count(name) and parts(name)[2] in TABLE:
        return
    has_threshold = metainfo['classes'][0] == 'background' and not name.startswith('lposs/')
    assert (segmentor.decoder.prob_thd > 0) == has_threshold


@pytest.mark.parametrize(('method', 'benchmarks'), [
    ('clip', EIGHT), ('maskclip', EIGHT), ('sclip', sorted([*EIGHT, 'coco_stuff10k'])), ('clearclip', EIGHT), ('naclip', EIGHT),
    ('naclip-pamr', EIGHT), ('segearth_ov', [*EIGHT, *REMOTE]), ('segearth_ov-jbu', [*EIGHT, *REMOTE]),
    ('scclip', EIGHT), ('resclip', EIGHT),
    ('proxyclip', EIGHT), ('corrclip', EIGHT), ('lposs', EIGHT), ('lposs_plus', EIGHT), ('gated', [*ELEVEN, *REMOTE]),
    ('gated_full', ELEVEN)])
def test_every_method_has_its_benchmarks(method, benchmarks):
    found = [parts(name) for name in PRESETS]
    mess = {row.name for row in FAMILIES['MESS']}
    assert sorted(bench for m, backbone, bench in found
                  if m == method and backbone == 'vit-b16' and bench not in mess) == sorted(benchmarks)


# From the methods' repositories and papers; thresholds on VOC21, Context60 and COCO-Object.
COMMON = dict(side=336, crop=224, stride=112, scale=40, thresholds=(0.1, 0.1, 0.1))
SETTINGS = {
    'clip': dict(COMMON, model_type='Vanilla', ignore_residual=False, pad_mode='none'),
    'maskclip': dict(COMMON, model_type='MaskCLIP', ignore_residual=False, pad_mode='none'),
    'sclip': dict(COMMON, model_type='SCLIP', ignore_residual=False, pad_mode='none'),
    'naclip': dict(COMMON, model_type='NACLIP', ignore_residual=True, pad_mode='none'),
    'clearclip': dict(side=448, crop=448, stride=224, scale=50, thresholds=(0.5, 0.15, 0.4), model_type='ClearCLIP',
                      ignore_residual=True, pad_mode='center'),
    'segearth_ov': dict(side=448, crop=224, stride=112, scale=50, thresholds=(0.5, 0.15, 0.4), model_type='SegEarth',
                        ignore_residual=True, pad_mode='center', cls_token_lambda=-0.3, cls_source='last_block'),
    'proxyclip': dict(COMMON, crop=336, thresholds=(0.2, 0.15, 0.25), model_type='ProxyCLIPEncoder', ignore_residual=True,
                      pad_mode='center'),
    'scclip': dict(COMMON, thresholds=(0.15, 0.15, 0.35), model_type='SCCLIPEncoder', ignore_residual=True, pad_mode='none'),
    'resclip': dict(COMMON, model_type='ResCLIPEncoder', ignore_residual=True, pad_mode='none'),
    'gated': dict(COMMON, model_type='Gated', ignore_residual=True, pad_mode='center'),
}
SETTINGS['naclip-pamr'] = dict(SETTINGS['naclip'], refine=dict(type='PAMR', num_iter=10, dilations=(8, 16)))
SETTINGS['gated_full'] = SETTINGS['gated']
SETTINGS['corrclip'] = dict(SETTINGS['proxyclip'], model_type='CorrCLIPEncoder')
SETTINGS['segearth_ov-jbu'] = SETTINGS['segearth_ov']
SETTINGS['lposs'] = dict(SETTINGS['maskclip'], side=448, pad_mode='center', thresholds=(0.0, 0.0, 0.0))
SETTINGS['lposs_plus'] = dict(SETTINGS['lposs'], refine=dict(type='LPOSSPlus', tau=0.01, r=13, alpha=0.95, num_iter=10))
EXCEPTIONS = {
    ('sclip', 'voc21'): dict(scale=65, area_thd=0.1), ('sclip', 'context60'): dict(scale=50),
    ('sclip', 'coco_object'): dict(scale=50), ('sclip', 'coco_stuff164k'): dict(side=448),
    ('naclip', 'voc21'): dict(crop=0), ('naclip', 'voc20'): dict(crop=0),
    ('naclip-pamr', 'voc21'): dict(crop=0), ('naclip-pamr', 'voc20'): dict(crop=0),
    ('scclip', 'voc21'): dict(scale=50, area_thd=0.1), ('scclip', 'coco_object'): dict(scale=55),
    ('resclip', 'voc21'): dict(crop=0), ('resclip', 'voc20'): dict(crop=0),
    ('clearclip', 'cityscapes'): dict(side=448, crop=224, stride=224), ('segearth_ov', 'cityscapes'): dict(side=448),
    ('proxyclip', 'ade20k'): dict(side=448), ('proxyclip', 'cityscapes'): dict(side=448, crop=224),
    ('corrclip', 'ade20k'): dict(side=448), ('corrclip', 'cityscapes'): dict(side=448, crop=224),
    **{(method, 'cityscapes'): dict(side=448) for method in ('segearth_ov-jbu', 'lposs', 'lposs_plus')},
}


@pytest.mark.parametrize('name', [name for name in PRESETS if parts(name)[2] not in TABLE])
def test_numbers_are_the_protocol_s(load, name):
    method, backbone, bench = parts(name)
    expected = {'area_thd': None, 'refine': None, 'cls_token_lambda': 0.0, 'cls_source': 'clip', **SETTINGS[method]}
    if bench == 'cityscapes':
        expected['side'] = 560
    expected.update(EXCEPTIONS.get((method, bench), {}))
    if backbone == 'vit-l14-336':
        expected['crop'] = 336
    thresholds = dict(zip(BACKGROUND, expected.pop('thresholds')))
    model = load(name).model
    resize, = (step for step in load(name).test_dataloader.dataset.pipeline if step.type == 'Resize')
    assert (tuple(resize.scale), resize.keep_ratio) == ((2048, expected.pop('side')), True)
    assert model.decoder.get('prob_thd', 0.0) == thresholds.get(bench, 0.0)
    assert model.vocabulary.templates == 'imagenet80'
    found = dict(
        crop=model.windows.crop, stride=model.windows.stride, pad_mode=model.windows.get('pad_mode', 'center'),
        scale=model.decoder.logit_scale, area_thd=model.decoder.get('area_thd'), refine=model.decoder.get('refiner'),
        cls_token_lambda=model.decoder.get('cls_token_lambda', 0.0),
        cls_source=model.image_encoder.get('cls_source', 'clip'),
        model_type=model.image_encoder.get('attention', model.image_encoder).type,
        ignore_residual=model.image_encoder.get('ignore_residual', True))
    assert found == expected


RESCLIP = {  # temp_thd, rcs_weights, sfr_weights
    'voc20': (0.1, (2, 0.6), (2.1, 0.6)), 'voc21': (0.5, (2, 0.3), (2.2, 0.7)), 'context59': (0.25, (2, 0.4), (1.8, 0.7)),
    'context60': (0.3, (2, 0.3), (1.8, 0.7)), 'coco_object': (0.11, (2, 0.4), (1.8, 0.7)),
    'coco_stuff164k': (0.11, (2, 0.4), (1.8, 0.7)), 'cityscapes': (0.1, (2, 0.2), (2.1, 0.6)),
    'ade20k': (0.25, (2, 0.3), (2.1, 0.7))}


@pytest.mark.parametrize('bench', EIGHT)
def test_resclip_has_the_numbers_that_were_tuned_for_each_data_set(load, bench):
    encoder = load(f'resclip/resclip_vit-b16_{bench}.py').model.image_encoder
    assert (encoder.temp_thd, encoder.rcs_weights, encoder.sfr_weights) == RESCLIP[bench]


# SegEarth-OV's configs: threshold, background class, class list.
SEGEARTH = dict(
    openearthmap=(0.1, 0, 'openearthmap_segearth'), loveda=(0.3, 0, 'loveda_segearth'), isaid=(0.4, 0, 'isaid'),
    potsdam=(0.1, 5, 'potsdam_segearth'), vaihingen=(0.1, 5, 'isprs'), uavid=(0.3, 0, 'uavid_segearth'),
    udd5=(0.4, 4, 'udd5_segearth'), vdd=(0.3, 0, 'vdd_segearth'), whu_aerial=(0.6, 0, 'binary_building'),
    whu_sat_ii=(0.7, 0, 'binary_building'), inria=(0.6, 0, 'binary_building'), xbd=(0.0, 0, 'binary_building'),
    chn6_cug=(0.8, 0, 'binary_road'), deepglobe_road=(0.7, 0, 'binary_road'), massachusetts_road=(0.7, 0, 'binary_road'),
    spacenet_road=(0.7, 0, 'binary_road'), wbs_si=(0.6, 0, 'binary_water'))


@pytest.mark.parametrize('method', ['segearth_ov', 'segearth_ov-jbu', 'gated'])
@pytest.mark.parametrize('bench', REMOTE)
def test_remote_sensing_has_segearth_ov_s_protocol(load, method, bench):
    name = f'{method.split("-")[0]}/{method}_vit-b16_{bench}.py'
    assert len((CONFIGS / name).read_text().splitlines()) <= 6
    cfg = load(name)
    model, (prob_thd, bg_idx, words) = cfg.model, SEGEARTH[bench]
    resize, = (step for step in cfg.test_dataloader.dataset.pipeline if step.type == 'Resize')
    assert (tuple(resize.scale), resize.keep_ratio, model.windows.crop, model.windows.stride) == ((448, 448), True, 224, 112)
    decoder = dict(logit_scale=50, prob_thd=prob_thd, **(dict(bg_idx=bg_idx) if bg_idx else {}))
    if method != 'gated':
        decoder['cls_token_lambda'] = 0.0 if bench == 'xbd' else -0.3
    assert model.decoder == decoder and model.vocabulary == dict(names=words, templates='imagenet80')
    assert ('upsampler' in model) == (method == 'segearth_ov-jbu')
    assert ROWS[bench].name == bench


@pytest.mark.parametrize('name', [name for name in PRESETS if parts(name)[2] not in TABLE])
def test_class_list_is_the_method_s(load, name):
    method, _, bench = parts(name)
    stem = bench.replace('164k', '').replace('10k', '')
    expected = stem if bench in ('ade20k_847', 'context459') else f'{stem}_sclip'
    if method in ('lposs', 'lposs_plus'):
        expected = dict(voc21='voc21_lposs', coco_object='coco_object_lposs').get(bench, stem)
    if method in ('clearclip', 'segearth_ov', 'segearth_ov-jbu'):
        expected = dict(voc21='voc21_clearclip', voc20='voc20_clearclip', coco_object='coco_object').get(bench, expected)
    if method == 'proxyclip':
        expected = dict(voc21='voc21_proxyclip', voc20='voc20_clearclip',
                        coco_object='coco_object_proxyclip').get(bench, expected)
    if method == 'corrclip':
        expected = f'{stem}_corrclip'
    assert load(name).model.vocabulary.names == expected


def at_448(pipeline):
    return [dict(step, scale=(2048, 448)) if step['type'] == 'Resize' else step for step in pipeline]


@pytest.mark.parametrize('name', LARGE_SHORT_SIDE)
def test_larger_short_side_changes_nothing_else(load, name):
    larger, usual = (load(part).to_dict() for part in (name, name.replace('_448', '')))
    assert larger['test_pipeline'] == at_448(usual['test_pipeline']) == larger['test_dataloader']['dataset']['pipeline']
    assert larger['tta_pipeline'] == at_448(usual['tta_pipeline'])
    larger['test_dataloader']['dataset']['pipeline'] = usual['test_dataloader']['dataset']['pipeline']
    assert all(larger[key] == usual[key] for key in usual if key not in ('test_pipeline', 'tta_pipeline', 'resize'))


@pytest.mark.parametrize('name', [name for name in PRESETS if parts(name)[1:] == ('vit-b16', 'voc21')])
def test_labels_come_out(model_of, build, name):
    segmentor = build(model_of(name, prompt_templates='plain'))
    result, = segmentor.predict(torch.randn(1, 3, 61, 97))
    assert result.pred_sem_seg.data.shape == (1, 61, 97)
    assert result.pred_sem_seg.data.min() >= 0 and result.pred_sem_seg.data.max() <= 20
