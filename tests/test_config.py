import argparse

import pytest
from mmengine.config import DictAction

from ovseg.config import read_config, setting


@pytest.fixture
def path(tmp_path):
    (tmp_path / 'base.py').write_text(
        "side = 3\nmodel = dict(type='A', scale=side)\ntest_evaluator = [dict(type='B'), dict(type='C')]\n")
    (tmp_path / 'config.py').write_text("_base_ = ['base.py']\nmodel = dict(scale=5)\n")
    return tmp_path / 'config.py'


def test_options_are_merged(path):
    cfg = read_config(path, {'model.scale': 7, 'model.nested.new': True, 'test_evaluator.1.type': 'D'})
    assert cfg.model == dict(type='A', scale=7, nested=dict(new=True))
    assert cfg.test_evaluator == [dict(type='B'), dict(type='D')]


def test_without_options_it_is_the_file(path):
    assert read_config(str(path), {}).to_dict() == dict(model=dict(type='A', scale=5), side=3,
                                                    test_evaluator=[dict(type='B'), dict(type='C')])


@pytest.mark.parametrize('key', ['load_from', 'randomness.seed', 'visualizer.name', 'env_cfg.cudnn_benchmark', 'compile'])
def test_what_a_runner_reads_may_be_new(path, key):
    cfg = read_config(path, {key: '1'})
    for part in key.split('.'):
        cfg = cfg[part]
    assert cfg == '1'


@pytest.mark.parametrize('key, near', [('modle.scale', 'model'), ('sied', 'side'), ('test_evluator.x', 'test_evaluator')])
def test_a_mistyped_key_is_refused_and_the_nearest_named(path, key, near):
    with pytest.raises(ValueError, match=f"config.py has no key '{key.split('.')[0]}'; did you mean '{near}'"):
        read_config(path, {'model.scale': 7, key: 1})


@pytest.mark.parametrize('text', ['model = dict(', "_base_ = ['missing' + '.py']\nx = 1 +", 'def'])
def test_what_is_no_config_is_named(tmp_path, text):
    (tmp_path / 'broken.py').write_text(text)
    with pytest.raises(ValueError, match=r'broken\.py is no config: '):
        read_config(tmp_path / 'broken.py', {})


@pytest.mark.parametrize('key', ['side', 'side.part'])
def test_a_variable_that_nobody_reads_is_refused(path, key):
    with pytest.raises(ValueError, match=f'{key}=4 would change nothing: side is a variable of .*config.py'):
        read_config(path, {key: 4})


@pytest.mark.parametrize('text, value', [
    ('a=1', 1), ('a.b=[x, y]', ['x', 'y']), ('a=( 1, [2 ,3] )', (1, [2, 3])), ('a=x=y', 'x=y'), ('a=', '')])
def test_a_setting_is_read_as_it_is_meant(text, value):
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', type=setting, action=DictAction)
    assert list(parser.parse_args(['--cfg-options', text]).cfg_options.values()) == [value]


@pytest.mark.parametrize('text, message', [
    ('cat.jpg', 'is not KEY=VALUE'), ('a=[1,2', 'brackets'), ('a=1,(2', 'brackets'), ('a=[1,2))', 'brackets'),
    ('a=traffic light', 'spaces would be lost'), ('a=["a photo of {}."]', 'spaces would be lost')])
def test_a_setting_that_would_be_read_as_another_is_refused(text, message):
    with pytest.raises(argparse.ArgumentTypeError) as caught:
        setting(text)
    assert text in str(caught.value) and message in str(caught.value)
