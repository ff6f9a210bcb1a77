import importlib
import io
import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import ovseg
import ovseg.resources
from ovseg.cli import COMMANDS, main
from ovseg.cli.catalogue import KINDS


def test_the_package_runs_as_a_program(monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['ovseg', '--version'])
    with pytest.raises(SystemExit) as finished:
        runpy.run_module('ovseg', run_name='__main__')
    assert finished.value.code == 0
    assert capsys.readouterr().out == f'ovseg {ovseg.__version__}\n'


def test_without_arguments_help_and_an_overview_are_printed(capsys):
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith('usage: ovseg')
    overview = lines[lines.index('to choose from (ovseg list KIND describes each of them):'):]
    for kind, entries in KINDS.items():
        line, = [line for line in overview if line.split()[:1] == [kind]]
        found = entries()
        assert line.split()[1] == str(len(found))
        assert found[0]['name'] in line


def test_the_overview_keeps_to_the_width_of_the_terminal(monkeypatch, capsys):
    monkeypatch.setenv('COLUMNS', '61')
    main([])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines[-len(KINDS):])) == 61


@pytest.mark.parametrize('arguments', [[], ['list'], ['list', '--json'], ['env', '--json']])
def test_a_terminal_that_cannot_show_every_letter_is_written_to_all_the_same(arguments, monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, 'stdout', io.TextIOWrapper(written, 'ascii'))
    assert main(arguments) == 0
    sys.stdout.flush()
    text = written.getvalue().decode()
    if '--json' in arguments:
        assert json.loads(text)
    else:
        assert 'clearclip' in text


@pytest.mark.parametrize('error', [ValueError('wrong'), OSError('wrong'), MemoryError('wrong')])
def test_errors_that_say_what_is_wrong_are_lines(error, monkeypatch, capsys):
    monkeypatch.setattr('ovseg.cli.env.describe', raises(error))
    assert main(['env']) == 1
    assert capsys.readouterr().err == 'ovseg: error: wrong\n'


@pytest.mark.parametrize('arguments', [
    ['nonsense'], ['list', 'nonsense'], ['env', '--nonsense'], ['list', 'configs', 'methods']])
def test_wrong_arguments_exit_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as finished:
        main(arguments)
    assert finished.value.code == 2
    assert 'error: ' in capsys.readouterr().err


@pytest.mark.parametrize(('arguments', 'line'), [
    (['predct'], "ovseg: error: 'predct' is no command; did you mean predict?"),
    (['check_data', 'a.py'], "ovseg: error: 'check_data' is no command; did you mean check-data?"),
    (['predict', 'a.jpg', '--out', 'out', '--modle=b'],
     'ovseg predict: error: unrecognized arguments: --modle=b; did you mean --model?'),
    (['configs', 'path', 'a', '--debgu'], 'ovseg configs path: error: unrecognized arguments: --debgu; did you mean --debug?'),
    (['env', '--nonsense'], 'ovseg env: error: unrecognized arguments: --nonsense')])
def test_what_is_nearly_a_command_or_an_option_is_answered_with_it(arguments, line, capsys):
    with pytest.raises(SystemExit):
        main(arguments)
    assert capsys.readouterr().err.splitlines()[-1] == line


@pytest.mark.parametrize('arguments', [
    ['predict', 'a.jpg', '--out='], ['test', 'a.py', '--out='], ['test', 'a.py', '--work-dir='],
    ['test', 'a.py', '--show-dir='], ['dist-test', 'a.py', '2', '--out='], ['ablate', 'a.py', '--work-dir='],
    ['visualize', 'a.py', 'a.jpg', '--out='], ['reproduce', 'a', '--out='], ['reproduce', 'a', '--work-dir='],
    ['check-data', 'a.py', '--json='], ['regions', 'a.py', '--out='], ['demo', '--out='], ['configs', 'copy', 'a', ''],
    ['convert', 'coco_object', 'a', ''], ['convert', 'context459', 'a', '--out='], ['convert', 'ade20k_847', 'a', '--out='],
    ['convert', 'repair', 'a.py', '--out=']], ids=' '.join)
def test_an_empty_path_is_not_the_current_folder(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'a.py').touch()
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith(": the path is empty (the current folder is '.')")
    assert [path.name for path in tmp_path.iterdir()] == ['a.py']


@pytest.mark.parametrize('arguments', [[], ['list'], ['list', 'configs', '--json'], ['env']])
def test_what_cannot_be_done_is_said_in_a_line_and_exits_with_1(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ovseg.resources, 'PACKAGE', tmp_path / 'ovseg')
    assert main(arguments) == 1
    message, = capsys.readouterr().err.splitlines()
    assert message.startswith('ovseg: error: ovseg has no configs')


def raises(error):
    def function(*args):
        raise error
    return function


def test_importing_ovseg_leaves_program_page_and_plots_out():
    code = ('import sys, ovseg; '
            'print([name for name in sys.modules if name.startswith(("ovseg.cli", "ovseg.web", "gradio", "matplotlib"))])')
    finished = subprocess.run([sys.executable, '-c', code], cwd=Path(ovseg.__file__).parents[1], capture_output=True, text=True,
                              timeout=300, check=True)
    assert finished.stdout.strip() == '[]'


MINIMAL = {'predict': ['a.jpg', '--out', 'out'], 'test': ['a.py'], 'dist-test': ['a.py', '2'], 'eval': ['a.py', 'maps'],
           'ablate': ['a.py'], 'visualize': ['a.py', 'a.jpg'], 'check-data': ['a.py'], 'regions': ['a.py', '--out', 'out'],
           'convert': ['coco_object'], 'reproduce': ['demo'], 'configs': ['path', 'gated_vit-b16'],
           'export': ['a.py', '--size', '224x224', '--out', 'a.onnx']}


@pytest.mark.parametrize('command', COMMANDS)
def test_every_command_has_a_traceback_on_demand_and_ends_with_130_after_ctrl_c(command, monkeypatch, capsys):
    module = importlib.import_module(f'ovseg.cli.{command.replace("-", "_")}')
    name = 'print_path' if command == 'configs' else 'run'

    def run(args):
        raise problem

    monkeypatch.setattr(module, name, run)
    arguments = [command, *MINIMAL.get(command, [])]
    problem = KeyboardInterrupt()
    assert main(arguments) == 130
    assert capsys.readouterr().err == 'ovseg: interrupted\n'
    problem = OSError(28, 'No space left on device', 'a.png')
    assert main(arguments) == 1
    assert capsys.readouterr().err == "ovseg: error: [Errno 28] No space left on device: 'a.png'\n"
    assert main([*arguments[:1], '--debug', *arguments[1:]]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == 'Traceback (most recent call last):' and lines[-1].startswith('ovseg: error: [Errno 28] No space')


TOOLS = {'test': 'test', 'eval_predictions': 'eval', 'ablate': 'ablate', 'visualize': 'visualize', 'demo': 'demo',
         'check_dataset': 'check-data', 'make_regions': 'regions'}


@pytest.mark.parametrize('tool', TOOLS)
def test_a_tool_is_the_command_under_its_own_name(tool, monkeypatch, capsys):
    path = Path(ovseg.__file__).parents[1] / 'tools' / f'{tool}.py'
    monkeypatch.setattr(sys, 'argv', [str(path), '--nonsense'])
    with pytest.raises(SystemExit) as finished:
        runpy.run_path(str(path), run_name='__main__')
    printed = capsys.readouterr().err
    assert finished.value.code == 2 and printed.startswith(f'usage: tools/{tool}.py [-h] [--debug]')
    assert f'\ntools/{tool}.py: error: ' in printed
    monkeypatch.setattr(f'ovseg.cli.{TOOLS[tool].replace("-", "_")}.run', raises(ValueError('wrong')))
    monkeypatch.setattr(sys, 'argv', [str(path), *MINIMAL.get(TOOLS[tool], [])])
    with pytest.raises(SystemExit, match=rf'^tools/{tool}\.py: error: wrong$'):
        runpy.run_path(str(path), run_name='__main__')
