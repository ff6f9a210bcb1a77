"""An error in a config ends every tool with one line and exit code 1."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

import ovseg
from ovseg.apis import OVSegInferencer
from ovseg.cli import main

ROOT = Path(ovseg.__file__).parents[1]
DEMO = ROOT / 'configs' / 'demo' / 'gated_tiny-clip_demo.py'
TOOLS = dict(test=[], eval_predictions=['maps'], check_dataset=[], ablate=['--toggle', 'apply_ctd', '--work-dir', 'out'],
             visualize=['a.jpg'])
DATA = ('test', 'eval_predictions', 'check_dataset', 'ablate')
MODEL = ('test', 'ablate', 'visualize')
CONFIGS = {  # content, message, tools
    'empty': ('', "has no '(model|test_dataloader)'", TOOLS),
    'raises': ('x = 1\ny = 1 / 0', r'is no config: ZeroDivisionError: division by zero \(.*config\.py, line 2\)', TOOLS),
    'binary': (bytes(range(256)), 'is not UTF-8', TOOLS),
    'no base': ("_base_ = ['nowhere.py']", r"is no config: FileNotFoundError: .*nowhere\.py", TOOLS),
    'model': (f"_base_ = [{str(DEMO)!r}]\nmodel = dict(_delete_=True)", "has no 'model.type'", MODEL),
    'no model': (f"_base_ = [{str(DEMO)!r}]\nmodel = None", "(has no 'model'|is no config: )", MODEL),
    'no metric': (f"_base_ = [{str(DEMO)!r}]\ntest_evaluator = None", "(has no 'test_evaluator'|is no config: )", DATA)}
OPTIONS = [  # setting, message, tools
    ('test_dataloader=5', ': test_dataloader=5 must be a dict', TOOLS), ('model=3', ': model=3 must be a dict', TOOLS),
    ('test_evaluator=3', ': test_evaluator=3 must be a dict or a list', TOOLS), ('work_dir=5', ': work_dir=5 must be', TOOLS),
    ('default_hooks=1', ': default_hooks=1 must be a dict', TOOLS), ('model.data_preprocessor=5', 'data_preprocessor=5', MODEL),
    ('model.data_preprocessor=', "data_preprocessor='' must be a dict with a type", MODEL),
    ('model.data_preprocessor=IoU', "data_preprocessor='IoU' must be a dict", MODEL), ('model.type=Foo', 'Foo', MODEL),
    ('model.slide_crop=' + '9' * 400, r'windows\.crop=an integer of about 401 digits must be', MODEL),
    ('model.logit_scale=1e400', 'logit_scale=inf must be', MODEL), ('test_dataloader.dataset.type=Foo', 'Foo', DATA),
    ('test_dataloader.dataset.pipeline.0.type=Foo', 'Foo is not in the mmseg::transform', DATA),
    ('test_evaluator.type=Foo', 'Foo', ['test', 'eval_predictions']),
    ('test_evaluator.type=Foo', 'has no IoUMetric', ['ablate']),
    ('test_evaluator.type=5', '(type|but got)', ['test', 'eval_predictions', 'ablate']),
    ('test_dataloader.batch_size=x', 'gated_tiny-clip_demo.py: ', ['test']),
    ('test_dataloader.sampler=5', 'sampler=5 must be a dict', ['test']),
    ('visualizer.type=Foo', 'gated_tiny-clip_demo.py: Foo', ['test']),
    ('default_hooks.timer=5', 'gated_tiny-clip_demo.py: ', ['test']),
    ('test_cfg.type=Foo', 'gated_tiny-clip_demo.py: Foo', ['test'])]


@pytest.fixture
def refused(in_process, tmp_path, monkeypatch):
    """The line with which a tool refuses a config."""
    def run(tool, config, *options):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit) as ended:
            in_process(f'{tool}.py', config, *TOOLS[tool], *options)
        line = ended.value.code
        assert isinstance(line, str) and line.startswith(f'tools/{tool}.py: error: ') and line.isprintable()
        return line
    return run


@pytest.mark.parametrize('tool, name', [(tool, name) for name, (*_, tools) in CONFIGS.items() for tool in tools])
def test_a_config(tool, name, refused, tmp_path, assert_matches):
    content, message, _ = CONFIGS[name]
    (tmp_path / 'config.py').write_bytes(content if isinstance(content, bytes) else content.encode())
    assert_matches(refused(tool, 'config.py'), rf'config\.py:? {message}')


@pytest.mark.parametrize('tool, option, message', [(tool, option, message) for option, message, tools in OPTIONS
                                                   for tool in tools], ids=lambda value: value[:40])
def test_a_setting(tool, option, message, refused, assert_matches):
    quick = ['model.pretrained=None', 'model.prompt_templates=plain'] if not option.startswith('model=') else []
    assert_matches(refused(tool, DEMO, '--cfg-options', *quick, option), message)


@pytest.fixture
def assert_matches():
    import re

    def check(line, message):
        assert re.search(message, line), f'{line!r} does not match {message!r}'
    return check


@pytest.mark.parametrize('name', CONFIGS)
def test_the_command_and_the_class(name, tmp_path, capsys, assert_matches):
    content, message, tools = CONFIGS[name]
    if 'visualize' not in tools:
        return
    config = tmp_path / 'config.py'
    config.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert main(['predict', 'a.jpg', '--out', str(tmp_path / 'out'), '--model', str(config)]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith('ovseg: error: ')
    assert_matches(line, rf'config\.py:? {message}')
    with pytest.raises(ValueError, match=rf'config\.py:? {message}'):
        OVSegInferencer(config)


def test_a_setting_of_the_default_model_is_not_said_of_none(tmp_path, capsys):
    assert main(['predict', 'a.jpg', '--out', str(tmp_path), '--cfg-options', 'model.type=EncoderDecoder']) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith('ovseg: error: ') and 'gated_tiny-clip_demo.py: ' in line and 'None' not in line


@pytest.mark.parametrize('arguments, message', [
    (['--out', '~no_such_user/x'], '--out=~no_such_user/x: there is no home folder ~no_such_user'),
    (['--out', 'out', '--weights', '~no_such_user/x'], 'clip.pretrained=~no_such_user/x: there is no home folder'),
    (['--out', 'out', '--classes', '~no_such_user/x.txt'], 'vocabulary.names=~no_such_user/x.txt: there is no home folder')])
def test_a_user_who_does_not_exist(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(['predict', str(ROOT / 'configs'), *arguments]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith(f'ovseg: error: {message}')
    assert not list(tmp_path.glob('~*'))


def test_a_process_prints_a_line_and_ends_with_1(tmp_path):
    (tmp_path / 'a\x1b[31m.py').write_text('1 / 0')
    ended = subprocess.run([sys.executable, str(ROOT / 'tools' / 'test.py'), 'a\x1b[31m.py'], cwd=tmp_path, capture_output=True,
                           text=True, timeout=300, env={**os.environ, 'PYTHONPATH': str(ROOT)})
    line, = ended.stderr.splitlines()
    assert ended.returncode == 1 and line.startswith(r"tools/test.py: error: 'a\x1b[31m.py' is no config: ZeroDivisionError")
