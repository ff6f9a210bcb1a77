import shlex
import shutil
from argparse import ArgumentParser
from pathlib import Path

import pytest
from mmengine.config import DictAction

import ovseg
from ovseg.ablation.axes import Axes
from ovseg.ablation.settings import Setting, all_settings, short_names
from ovseg.config import read_config
from ovseg.evaluation import run_record
from ovseg.models.segmentors.switches import COMPONENTS, FLAT
from ovseg.models.towers.tiny_clip import WEIGHTS_FILE

CONFIGS = Path(ovseg.__file__).parents[1] / 'configs'
DEMO = str(CONFIGS / 'demo' / 'gated_tiny-clip_demo.py')
VANILLA = str(CONFIGS / 'demo' / 'vanilla_tiny-clip_demo.py')
CHANGES = {  # settings of every component but the CLIP
    'apply_self_attn_enhancement': True, 'apply_outlier_suppression': True, 'global_debias_factor': 0.3, 'apply_ctd': True,
    'post_processors': ['CTD'], 'name_path': ['sky', 'wall'], 'prompt_templates': 'plain', 'decoder.cls_token_lambda': -0.3,
    'logit_scale': 50, 'prob_thd': 0.1, 'decoder.area_thd': 0.1, 'bg_idx': 3, 'decoder.refiner.type': 'PAMR',
    'decoder.memory_mb': 7, 'decoder.with_seg_logits': True, 'model_type': 'KK', 'ignore_residual': False,
    'apply_similarity_enhancement': False, 'similarity_enhancement_cfg.layer': 1, 'slide_stride': 56, 'slide_crop': 0,
    'image_encoder.cls_source': 'last_block', 'image_encoder.attention_layer': -2, 'image_encoder.precision': 'bf16',
    'image_encoder.compile': True, 'upsampler': 'BilinearUpsampler', 'pad_mode': 'none', 'windows.batch_size': 7}


def setting(**options):
    return Setting('demo', 'x', DEMO, {f'model.{key}': value for key, value in options.items()}, {})


def test_every_component_but_the_clip_is_tried():
    changed = {FLAT.get(key.split('.')[0], key).split('.')[0] for key in CHANGES}
    assert changed == {*COMPONENTS} - {'clip'}


@pytest.mark.parametrize('key', CHANGES)
def test_settings_that_differ_in_any_other_component_share_the_weights(key):
    plain, changed = setting(), setting(**{key: CHANGES[key]})
    assert plain.weights_digest == changed.weights_digest and plain.digest != changed.digest


def test_weights_words_and_software_of_the_same_name_count_by_content(tmp_path, monkeypatch):
    weights, words = tmp_path / 'clip.safetensors', tmp_path / 'words.txt'

    def digests():
        one = setting(pretrained=str(weights), name_path=str(words))
        return one.digest, one.weights_digest

    shutil.copy(WEIGHTS_FILE, weights)
    words.write_text('sky\nwall\n')
    first = digests()
    assert digests() == first
    words.write_text('sky\nfloor\n')
    other_words = digests()
    assert other_words[0] != first[0] and other_words[1] == first[1]
    weights.write_bytes(weights.read_bytes()[:-1] + b'?')
    other_weights = digests()
    assert other_weights[0] != other_words[0] and other_weights[1] != other_words[1]
    monkeypatch.setattr(run_record, 'code_digest', lambda: 'f' * 64)
    assert digests()[0] != other_weights[0]


def test_weights_of_an_upsampler_count_by_content(tmp_path, monkeypatch):
    weights = tmp_path / 'jbu.pt'

    def digest(**keywords):
        return setting(upsampler=dict(type='JBUOne', **keywords)).digest

    weights.write_bytes(b'released')
    first = digest(pretrained=str(weights))
    assert digest(pretrained=str(weights)) == first
    weights.write_bytes(b'trained again')
    assert digest(pretrained=str(weights)) != first
    drawn = digest()
    assert digest() == drawn
    monkeypatch.setattr('ovseg.models.upsamplers.jbu_one.RANDOM', 'random weights of another process')
    assert digest() != drawn
    with pytest.raises(FileNotFoundError, match=r"upsampler\.pretrained='nowhere\.pt': there is no file"):
        digest(pretrained='nowhere.pt')


@pytest.mark.parametrize('options', [
    {'model.pretrained': None}, {'model.data_preprocessor.mean': [1, 2, 3]},
    {'test_dataloader.dataset.indices': 3}, {'test_dataloader.dataset.pipeline.0.imdecode_backend': 'pillow'},
    {'test_evaluator.ignore_index': 7}, {'test_cfg.fp16': True}])
def test_settings_of_other_weights_or_images_do_not(options):
    plain, changed = setting(), Setting('demo', 'x', DEMO, options, {})
    assert plain.weights_digest != changed.weights_digest and plain.digest != changed.digest


def test_random_weights_of_two_models_are_two_weights():
    tiny, other = setting(pretrained=None), setting(pretrained=None, clip_model='ViT-B-32')
    assert tiny.weights_digest != other.weights_digest and tiny.digest != other.digest


@pytest.mark.parametrize('options, message', [
    ({'model.clip': 'ViT-B-16'}, "clip='ViT-B-16' must be a dict"),
    ({'model.clip.nam': 'x'}, "clip has no key 'nam'; did you mean 'name'"),
    ({'model.vocabulary': 'ade20k'}, "vocabulary='ade20k' must be a dict with the keys of Vocabulary: names, templates"),
    ({'model.vocabulary.nams': 'ade20k'}, "vocabulary has no key 'nams'; did you mean 'names'")])
def test_components_that_are_wrong_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        assert Setting('demo', 'x', DEMO, options, {}).digest


@pytest.mark.parametrize('options', [{'test_dataloader.num_workers': 5}, {'log_level': 'ERROR'}, {'work_dir': 'x'}])
def test_what_does_not_touch_the_figures_makes_no_other_setting(options):
    assert Setting('demo', 'x', DEMO, options, {}).digest == setting().digest


@pytest.mark.parametrize('options', [
    {'model.apply_ctd': True, 'model.ctd_cfg.eps': 0.7, 'model.name_path': ['a', 'b'], 'model.decoder.area_thd': None,
     'test_dataloader.dataset.indices': 3},
    {'model.post_processors': [], 'model.image_encoder': {'attention': {'type': 'NACLIP', 'gaussian_std': 3.0}}}])
def test_the_command_leads_to_the_same_config(options):
    one = Setting('demo', 'x', DEMO, options, {})
    program, command, config, *rest = shlex.split(one.command)
    parser = ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    assert (program, command, config) == ('ovseg', 'test', DEMO)
    assert read_config(config, parser.parse_args(rest).cfg_options).to_dict() == one.cfg.to_dict()


def test_the_command_of_the_config_itself():
    assert setting().command == f'ovseg test {DEMO}'


def test_rows_of_switches_and_a_grid():
    axes = Axes(toggle=['apply_similarity_enhancement'], grid={'model.logit_scale': [30, 50]})
    rows = all_settings([DEMO], axes, {'model.prob_thd': 0.1})
    assert [row.name for row in rows] == ['baseline', '- apply_similarity_enhancement', 'logit_scale=30', 'logit_scale=50']
    assert {row.benchmark for row in rows} == {'gated_tiny-clip_demo'}
    assert [row.cfg.model.decoder.logit_scale for row in rows] == [40, 40, 30, 50]
    assert ['similarity' in row.cfg.model.image_encoder for row in rows] == [True, False, True, True]
    assert {row.cfg.model.decoder.prob_thd for row in rows} == {0.1}
    assert [dict(row.points) for row in rows] == [{}, {}, {'model.logit_scale': (30, '')}, {'model.logit_scale': (50, '')}]


def test_cumulative_rows_are_called_by_what_they_add():
    rows = all_settings([DEMO], Axes(['apply_ctd'], {'model.ctd_cfg.eps': [0.5, 0.7]}, combine='cumulative'), {})
    assert [row.name for row in rows] == ['baseline', '+ apply_ctd', 'eps=0.5', 'eps=0.7']
    assert rows[-1].options == {'model.apply_ctd': True, 'model.ctd_cfg.eps': 0.7}
    assert rows[-1].points == {'model.ctd_cfg.eps': (0.7, '+ apply_ctd')}


def test_full_rows_are_called_by_all_they_change():
    rows = all_settings([DEMO], Axes(['apply_ctd'], {'model.logit_scale': [30]}, combine='full'), {})
    assert [row.name for row in rows] == ['baseline', 'logit_scale=30', '+ apply_ctd, logit_scale=30']
    assert rows[-1].points == {'model.logit_scale': (30, '+ apply_ctd')}


def test_methods_are_rows_of_the_config_with_their_data_set():
    voc = [str(CONFIGS / method / f'{method}_vit-b16_voc21.py') for method in ('clip', 'sclip', 'clearclip')]
    ade = [str(CONFIGS / method / f'{method}_vit-b16_ade20k.py') for method in ('clip', 'naclip')]
    rows = all_settings([ade[0], voc[0]], Axes(methods=[*voc, ade[1]]), {})  # ClearCLIP resizes to another size
    assert [(row.benchmark, row.name) for row in rows] == [
        ('ade20k', 'clip (baseline)'), ('ade20k', 'naclip'),
        ('voc21', 'clip (baseline)'), ('voc21', 'sclip'), ('voc21', 'clearclip')]
    assert [row.config for row in rows] == [*ade, *voc]


def test_methods_are_combined_with_switches_by_full_alone():
    one, full = ([row.name for row in all_settings([DEMO], Axes(['apply_ctd'], methods=[VANILLA], combine=combine), {})]
                 for combine in ('one-at-a-time', 'full'))
    assert one == ['gated (baseline)', '+ apply_ctd', 'vanilla']
    assert full == ['gated (baseline)', '+ apply_ctd', 'vanilla', 'vanilla, + apply_ctd']


@pytest.mark.parametrize('stems, names', [
    (['gated_vit-b16_voc21'], ['gated_vit-b16_voc21']),
    (['gated_vit-b16_voc21', 'gated_vit-b16_ade20k'], ['voc21', 'ade20k']),
    (['clip_vit-b16_voc21', 'naclip-pamr_vit-b16_voc21'], ['clip', 'naclip-pamr']),
    (['gated_tiny-clip_demo', 'gated_full_tiny-clip_demo'], ['gated', 'gated_full']),
    (['a', 'a_b'], ['a', 'a_b'])])
def test_short_names(stems, names):
    assert short_names([f'configs/x/{stem}.py' for stem in stems]) == names


def test_names_must_tell_configs_apart():
    with pytest.raises(ValueError, match='several configs are called x_y'):
        short_names(['a/x_y.py', 'b/x_y.py'])


def test_a_method_on_another_data_set_is_refused():
    stranger = str(CONFIGS / 'clip' / 'clip_vit-b16_voc21.py')
    with pytest.raises(ValueError, match=r'clip_vit-b16_voc21\.py evaluate on another data set than .*gated_tiny'):
        all_settings([DEMO], Axes(methods=[VANILLA, stranger]), {})


@pytest.mark.parametrize('options, message', [
    ({'model.type': 'TokenClassifier'}, "model.type='TokenClassifier'; only settings of CLIPSegmentor"),
    ({'test_evaluator.iou_metrics': ['mDice']}, 'no IoUMetric with mIoU'),
    ({'test_evaluator': [dict(type='IoUMetric'), dict(type='BoundaryIoUMetric')]}, 'has a BoundaryIoUMetric in its test_eval'),
    ({'load_from': 'x.pth'}, 'put the weights into model.clip.pretrained'),
    ({'modle.apply_ctd': True}, "no key 'modle'; did you mean 'model'")])
def test_configs_that_cannot_be_compared_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        all_settings([DEMO], Axes(['apply_ctd']), options)


def test_numbers_of_a_module_that_is_off_are_pointed_out(monkeypatch):
    messages = []
    monkeypatch.setattr('ovseg.ablation.settings.print_log', lambda message, *_: messages.append(message))
    grid = {'model.outlier_suppression_cfg.top_k': [5]}
    all_settings([DEMO], Axes(['apply_outlier_suppression'], grid, combine='cumulative'), {})
    assert messages == []
    all_settings([DEMO], Axes(grid=grid), {})
    assert messages == ['gated_tiny-clip_demo, top_k=5: model.outlier_suppression_cfg.top_k has no effect, '
                        'model.apply_outlier_suppression is off']
