from pathlib import Path

import pytest
from mmengine.config import Config

from ovseg.apis.model_config import find_config, load_config
from ovseg.resources import configs_dir

LEAVES = [path for path in configs_dir().rglob('*.py') if '_base_' not in path.parts]


def test_every_config_is_found_by_its_name_alone():
    assert len({path.stem for path in LEAVES}) == len(LEAVES) > 50
    for path in LEAVES:
        assert find_config(path.stem) == path


@pytest.mark.parametrize('name, path', [
    ('gated_vit-b16', 'gated/gated_vit-b16_ade20k.py'), ('gated_full_vit-b16', 'gated_full/gated_full_vit-b16_ade20k.py'),
    ('gated_vit-l14-336', 'gated/gated_vit-l14-336_ade20k.py'), ('naclip-pamr_vit-b16', 'naclip/naclip-pamr_vit-b16_ade20k.py'),
    ('gated_tiny-clip', 'demo/gated_tiny-clip_demo.py'), ('vanilla_tiny-clip', 'demo/vanilla_tiny-clip_demo.py')])
def test_a_name_without_benchmark_is_the_config_on_ade20k_or_the_demo(name, path):
    assert find_config(name) == configs_dir() / path


@pytest.mark.parametrize('folder', [path.name for path in configs_dir().iterdir() if (path / 'README.md').is_file()])
def test_every_method_has_a_name_without_benchmark(folder):
    assert find_config(f'{folder}_vit-b16').parent.name == folder


def test_a_path_is_taken_as_it_is(tmp_path, monkeypatch):
    config = "model = dict(type='X', name_path=['a'])\ntest_dataloader = dict(dataset=dict(pipeline=[]))"
    (tmp_path / 'mine.py').write_text(config)
    monkeypatch.chdir(tmp_path)
    assert find_config('mine.py') == Path('mine.py')
    assert load_config(Path('mine.py'), None, {}).model.name_path == ['a']


def test_a_missing_path_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'there is no config .*missing\.py'):
        find_config(str(tmp_path / 'missing.py'))


def test_an_unknown_name_lists_near_ones():
    with pytest.raises(ValueError, match=r"model='gatet_vit-b16' is no config of ovseg; near: gated_vit-b16, .*gated_vit"):
        find_config('gatet_vit-b16')
    with pytest.raises(ValueError, match='is no config of ovseg; ovseg list configs'):
        find_config('%%%')


@pytest.mark.parametrize('kind', [dict, Config])
def test_a_dict_is_copied_and_takes_weights_and_options(kind):
    model = dict(type='X', clip=dict(pretrained='openai'), decoder=dict(logit_scale=40))
    given = kind(dict(model=model, test_dataloader=dict(dataset=dict(pipeline=[]))))
    cfg = load_config(given, Path('weights.pt'), {'model.decoder.logit_scale': 50, 'model.windows.crop': 7})
    assert cfg.model == dict(type='X', clip=dict(pretrained='weights.pt'), decoder=dict(logit_scale=50), windows=dict(crop=7))
    assert given['model'] == dict(type='X', clip=dict(pretrained='openai'), decoder=dict(logit_scale=40))


def test_a_file_takes_weights_and_options():
    cfg = load_config('gated_vit-b16_voc21', 'laion2b', {'model.logit_scale': 50})
    assert (cfg.model.clip.pretrained, cfg.model.decoder.logit_scale, cfg.model.decoder.prob_thd) == ('laion2b', 50, 0.1)
    assert load_config('gated_vit-b16_voc21', None, {}).model.clip.pretrained == 'openai'


@pytest.mark.parametrize('kind', [dict, Config])
def test_a_flat_dict_becomes_nested_and_takes_weights_and_options(kind):
    model = dict(type='CLIPSegmentor', clip_model='X', pretrained='openai', name_path=['cat'], logit_scale=40)
    cfg = load_config(kind(dict(model=model, test_dataloader=dict(dataset=dict(pipeline=[])))), 'weights.pt',
                      {'model.apply_ctd': True, 'model.decoder.prob_thd': 0.5})
    assert cfg.model == dict(
        type='CLIPSegmentor', clip=dict(name='X', pretrained='weights.pt'), vocabulary=dict(names=['cat']),
        decoder=dict(logit_scale=40, prob_thd=0.5), post_processors=[dict(type='CTD')])


@pytest.mark.parametrize('model', ['gated_tiny-clip', dict(model=dict(), test_dataloader=dict())])
def test_an_option_outside_the_config_is_refused(model):
    with pytest.raises(ValueError, match="no key 'modle'; did you mean 'model'"):
        load_config(model, None, {'modle.logit_scale': 50})


@pytest.mark.parametrize('options', [['model.apply_ctd=True'], 7])
def test_options_that_are_no_dict_are_refused(options):
    with pytest.raises(TypeError, match=r'cfg_options=.* must be a dict of settings by dotted key'):
        load_config('gated_tiny-clip', None, options)


@pytest.mark.parametrize('key, value, message', [
    ('model', None, " has no 'model'"), ('model', {}, " has no 'model.type'"), ('model', 5, ': model=5 must be a dict'),
    ('test_dataloader', None, " has no 'test_dataloader'"), ('test_dataloader', {}, " has no 'test_dataloader.dataset'"),
    ('test_dataloader', dict(dataset={}), " has no 'test_dataloader.dataset.pipeline'"),
    ('test_dataloader', dict(dataset=dict(pipeline='x')), ": test_dataloader.dataset.pipeline='x' must be a list")])
def test_a_config_without_model_or_pipeline_is_refused(key, value, message):
    cfg = {**dict(model=dict(type='X'), test_dataloader=dict(dataset=dict(pipeline=[]))), key: value}
    with pytest.raises(ValueError, match=f'^the config{message}'):
        load_config(cfg, None, {})
    with pytest.raises(ValueError, match=f'^the config{message}'):
        load_config({name: value for name, value in cfg.items() if value is not None}, None, {})


def test_another_type_is_refused():
    with pytest.raises(TypeError, match='model=7 must be the name of a config'):
        load_config(7, None, {})
