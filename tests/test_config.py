import argparse
import sys
import traceback

import pytest
import torch
from mmengine.config import Config, DictAction
from mmseg.registry import DATASETS, METRICS

from ovseg.cfg_options import setting
from ovseg.components import named_errors
from ovseg.config import check_config, merge_options, read_config
from ovseg.utils import shown


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


def test_a_data_preprocessor_beside_the_model_becomes_its_own(path):
    path.write_text(path.read_text() + "data_preprocessor = dict(type='P', mean=[1, 2, 3])\n")
    cfg = read_config(path, {})
    assert cfg.model.data_preprocessor == dict(type='P', mean=[1, 2, 3]) and 'data_preprocessor' not in cfg
    path.write_text(path.read_text() + "model = dict(type='A', data_preprocessor=dict(type='Q'))\n")
    assert read_config(path, {}).model.data_preprocessor.type == 'Q'


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


BROKEN = {
    'raises': ("x = 1\ny = 1 / 0\n", r'ZeroDivisionError: division by zero \(.*config\.py, line 2\)'),
    'raises in a function': ("def f():\n    return {}['k']\n\n\nx = f()\n", r"KeyError: k \(.*config\.py, line 2\)"),
    'raises in a base': ("_base_ = ['base.py']\n", r'NameError: .*undefined.* \(.*base\.py, line 3\)'),
    'raises with lines': ("raise ValueError('one\\ntwo\\x1b[31m')",
                          r'ValueError: one two\\x1b\[31m \(.*config\.py, line 1\)'),
    'has a mistake': ('x = (\n\n1\n', r'SyntaxError: .*never closed \(.*config\.py, line 1\)'),
    'has a base with a mistake': ("_base_ = ['mistake.py']\n", r'SyntaxError: .*never closed \(.*mistake\.py, line 2\)'),
    'ends the process': ('import sys\nsys.exit(0)\n', r'SystemExit: 0 \(.*config\.py, line 2\)'),
    'has no base': ("_base_ = ['nowhere.py']\n", r"FileNotFoundError: .*nowhere\.py"),
    'imports nothing': ("custom_imports = dict(imports=['nowhere'])\n", 'ImportError: Failed to import nowhere '),
    'is recursive': ('def f():\n    return f()\n\n\nx = f()\n', r'RecursionError: .*config\.py, line 2\)'),
    'has a reserved name': ('filename = 3\n', 'KeyError: filename is reserved'),
    'lazy, raises': ('from mmengine.config import read_base\n\nwith read_base():\n    from .base import *\n',
                     r'base\.py, line 3\)')}


@pytest.mark.parametrize('name', BROKEN)
def test_what_a_config_raises_is_a_line_with_file_and_line(name, tmp_path):
    content, message = BROKEN[name]
    (tmp_path / 'config.py').write_text(content)
    (tmp_path / 'base.py').write_text('\n\ny = undefined\n')
    (tmp_path / 'mistake.py').write_text('\nx = (\n')
    if name.endswith('a mistake') and sys.version_info < (3, 10):
        message = 'SyntaxError: '
    with pytest.raises(ValueError, match=rf'^{tmp_path}/config\.py is no config: .*{message}') as caught:
        read_config(tmp_path / 'config.py', {})
    assert '\n' not in str(caught.value)


def test_a_config_that_builds_on_itself(tmp_path, monkeypatch):
    (tmp_path / 'a.py').write_text("_base_ = ['b.py']\n")
    (tmp_path / 'b.py').write_text("_base_ = ['a.py']\n")
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(len(traceback.extract_stack()) + 150)  # or it takes ten seconds
    try:
        with pytest.raises(ValueError, match=r'a\.py is no config: it builds on itself, by _base_ or read_base$'):
            read_config(tmp_path / 'a.py', {})
    finally:
        sys.setrecursionlimit(before)


@pytest.mark.parametrize('suffix, content, message', [
    ('.py', bytes(range(256)), 'is not UTF-8'), ('.py', 'x = 1'.encode('utf-16'), 'is not UTF-8'),
    ('.yaml', b'a: 1\n- b\n', 'is no config: ParserError'), ('.json', b'[1, 2]', 'is no config: AttributeError'),
    ('.txt', b'a = 1', 'is no config: OSError: Only py')])
def test_another_kind_of_file_is_named(suffix, content, message, tmp_path):
    (tmp_path / f'c{suffix}').write_bytes(content)
    with pytest.raises(ValueError, match=rf'{tmp_path}/c\{suffix} {message}') as caught:
        read_config(tmp_path / f'c{suffix}', {})
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('path, error', [('/dev/zero', ValueError), ('folder.py', ValueError), ('no.py', FileNotFoundError)])
def test_what_is_no_file_is_refused_at_once(path, error, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'folder.py').mkdir()
    with pytest.raises(error, match=path):
        read_config(path, {})


def test_a_name_with_a_line_break_is_quoted(tmp_path):
    path = tmp_path / 'a\nb\x1b[31m.py'
    path.write_text('x = 1')
    for options, needed in ((dict(modle=1), []), ({}, ['model'])):
        with pytest.raises(ValueError) as caught:
            read_config(path, options, needed)
        assert str(caught.value).startswith(repr(str(path))) and str(caught.value).isprintable()


@pytest.mark.parametrize('key, value, message', [
    ('test_dataloader', 5, '=5 must be a dict'), ('test_evaluator', 3, '=3 must be a dict or a list'),
    ('model', 'x', "='x' must be a dict"), ('model', 10 ** 5000, '=an integer of about 5001 .*'),
    ('default_hooks', 1, '=1 must be a dict'), ('work_dir', 5, '=5 must be a string'),
    ('custom_hooks', {}, '={} must be a list'),
    ('test_dataloader.dataset', 5, '=5 must be a dict'), ('test_dataloader.dataset.pipeline', {}, '={} must be a list'),
    ('env_cfg.mp_cfg', 'x', "='x' must be a dict"), ('resume', 'yes', "='yes' must be True or False"),
    ('visualizer', [], r'=\[\] must be a dict'), ('load_from', 5, '=5 must be a string'),
    ('log_level', [], '.* e.g. INFO')], ids=shown)
def test_a_key_of_another_kind_is_named(key, value, message, path):
    with pytest.raises(ValueError, match=rf'^{path}: {key}{message}$'):
        read_config(path, {key: value})


@pytest.mark.parametrize('content, missing', [
    ('', 'model'), ('model = None', 'model'), ('model = {}', 'model.type'), ("model = dict(type='')", None),
    ("model = dict(type='A')", None)])
def test_what_is_needed_and_missing_is_named(content, missing, tmp_path):
    (tmp_path / 'c.py').write_text(content)
    if missing is None:
        assert read_config(tmp_path / 'c.py', {}, ['model.type']).model
        return
    with pytest.raises(ValueError, match=rf"^{tmp_path}/c\.py has no '{missing}'$"):
        read_config(tmp_path / 'c.py', {}, ['model.type'])


def test_a_class_that_cannot_be_imported_is_named(tmp_path):
    (tmp_path / 'lazy.py').write_text('from nowhere import Foo\nmodel = dict(type=Foo)\n')
    with pytest.raises(ValueError, match=r'lazy\.py: Failed to import nowhere .*line 1'):
        read_config(tmp_path / 'lazy.py', {}, ['model.type'])


@pytest.mark.parametrize('options', [
    {'model.scale.x': 1}, {'test_evaluator.0': 5}, {'test_evaluator.9.type': 'X'}, {'test_evaluator.²': {}},
    {'model': 3, 'model.x': 4}, {'test_evaluator.x.y': 1}])
def test_a_place_that_is_not_there_is_named(options, path):
    with pytest.raises(ValueError, match=rf'^{", ".join(options)} cannot be set in {path}: ') as caught:
        read_config(path, options)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('build', [
    lambda: DATASETS.build(dict(type='Foo')), lambda: METRICS.build(dict()), lambda: METRICS.build(5),
    lambda: torch.zeros(2) @ torch.zeros(3),
    lambda: DATASETS.build(dict(type='BaseSegDataset', data_root=5, pipeline=[])), lambda: Config(5)])
def test_what_others_raise_names_the_config(build):
    with pytest.raises(ValueError, match=r'^my\.py: ') as caught, named_errors('my.py'):
        build()
    assert '\n' not in str(caught.value)


def test_what_ovseg_raises_passes():
    with pytest.raises(ValueError, match=r'^x has no key'), named_errors('my.py'):
        merge_options(Config(), dict(y=1), 'x')
    with pytest.raises(TypeError), named_errors('my.py'):  # a defect
        check_config(Config(), 'x', 5)


@pytest.mark.parametrize('text', ['a=b[1,2]', 'a=[b(1,2)]', 'a==[1,2]', 'a=[1,2]b'])
def test_brackets_in_which_mmengine_recurses_for_ever_are_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match='the brackets must enclose a whole value'):
        setting(text)


@pytest.mark.parametrize('text', ['a=)(', 'a=[1),(2]', 'a=' + '[' * 9999 + ']' * 9999, 'a=([)]'])
def test_brackets_that_mmengine_stumbles_over_are_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match='the brackets do not match') as caught:
        setting(text)
    assert len(str(caught.value)) < 300
