"""The imports of the console command, in processes of their own, and the registrations of every other program."""
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import ovseg
from ovseg.cli import COMMANDS
from ovseg.cli.catalogue import KINDS

ROOT = Path(ovseg.__file__).parents[1]
# as pip writes it, and what it prints at the end
SCRIPT = """import atexit
import sys
atexit.register(lambda: print('IMPORTED', *[name for name in ('torch', 'mmengine', 'mmseg') if name in sys.modules]))
from ovseg.cli import main
if __name__ == '__main__':
    sys.exit(main())
"""
REGISTERED = "from mmseg.registry import MODELS; print('CLIPSegmentor' in MODELS.module_dict)"


def run(*command, folder, **variables):
    return subprocess.run([sys.executable, *map(str, command)], cwd=folder, capture_output=True, text=True, timeout=300,
                          env={**os.environ, 'PYTHONPATH': str(ROOT), **variables})


@pytest.fixture
def script(tmp_path):
    path = tmp_path / 'bin' / 'ovseg'
    path.parent.mkdir()
    path.write_text(SCRIPT)
    return path


@pytest.mark.parametrize('arguments, code', [
    ([], 0), (['--help'], 0), (['--version'], 0), (['nonsense'], 2), (['list'], 0), (['list', '--json'], 0),
    *((['list', kind], 0) for kind in KINDS), (['configs', 'path', 'gated_vit-b16'], 0),
    *(([command, '--help'], 0) for command in COMMANDS), *(([command, '--nonsense'], 2) for command in COMMANDS)], ids=str)
def test_nothing_that_takes_long_is_imported_before_it_is_needed(arguments, code, script, tmp_path):
    ended = run(script, *arguments, folder=tmp_path)
    assert ended.returncode == code, ended.stderr
    assert ended.stdout.splitlines()[-1] == 'IMPORTED'


@pytest.mark.parametrize('arguments', ['list', 'list --json', '--help', 'list --help', 'configs path gated_vit-b16'])
def test_a_reader_that_has_ended_ends_the_command_without_a_word(arguments, script, tmp_path):
    pipe = f'{shlex.quote(sys.executable)} bin/ovseg {arguments} | true; exit ${{PIPESTATUS[0]}}'
    ended = subprocess.run(['bash', '-c', pipe], cwd=tmp_path, capture_output=True, text=True, timeout=300,
                           env={**os.environ, 'PYTHONPATH': str(ROOT)})
    assert (ended.returncode, ended.stdout, ended.stderr) == (141, '', '')


@pytest.mark.skipif(sys.version_info < (3, 10), reason='Python 3.9 does not tell which module -m names')
def test_the_package_as_a_program_imports_nothing_that_takes_long_before_it_is_needed(tmp_path):
    (tmp_path / 'sitecustomize.py').write_text(SCRIPT.split('from ovseg')[0])
    ended = run('-m', 'ovseg', 'list', '--json', folder=tmp_path, PYTHONPATH=f'{ROOT}{os.pathsep}{tmp_path}')
    assert ended.returncode == 0 and ended.stdout.splitlines()[-1] == 'IMPORTED'


@pytest.mark.slow
def test_another_package_as_a_program_registers_everything(tmp_path):
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / '__init__.py').write_text('import ovseg\n')
    (tmp_path / 'mine' / 'ovseg.py').write_text(REGISTERED)
    assert run('-m', 'mine.ovseg', 'ovseg', folder=tmp_path).stdout.splitlines() == ['True']


PROGRAMS = {
    'a program': f'import ovseg\n{REGISTERED}\n',
    'a program that imports the command': f'import ovseg.cli\n{REGISTERED}\n',
    'a program that imports a part': f'from ovseg.resources import configs_dir\n{REGISTERED}\n',
    'a spawned process': f'''
import multiprocessing
def work():
    import ovseg
    {REGISTERED}
if __name__ == '__main__':
    process = multiprocessing.get_context('spawn').Process(target=work)
    process.start()
    process.join()
'''}


@pytest.mark.slow
@pytest.mark.parametrize('name', PROGRAMS)
def test_every_other_program_gets_all_registrations(name, tmp_path):
    (tmp_path / 'program.py').write_text(PROGRAMS[name])
    ended = run('program.py', folder=tmp_path)
    assert ended.stdout.splitlines() == ['True'], ended.stderr


@pytest.mark.parametrize('method', ['spawn', 'forkserver'])
def test_a_process_that_the_command_starts_gets_all_registrations(method, tmp_path):
    (tmp_path / 'bin').mkdir()
    (tmp_path / 'bin' / 'work.py').write_text(f'def work():\n    {REGISTERED}\n')
    (tmp_path / 'bin' / 'ovseg').write_text(f"""
import multiprocessing, sys
from ovseg.cli import main
from work import work
if __name__ == '__main__':
    print('mmseg' in sys.modules, flush=True)
    process = multiprocessing.get_context({method!r}).Process(target=work)
    process.start()
    process.join()
""")
    ended = run(tmp_path / 'bin' / 'ovseg', folder=tmp_path)
    assert ended.stdout.splitlines() == ['False', 'True'], ended.stderr


def test_the_package_as_a_program_registers_everything(tmp_path):
    code = ("import runpy, sys\nsys.argv = ['ovseg', '--version']\ntry:\n    runpy.run_module('ovseg', run_name='__main__')\n"
            f'except SystemExit:\n    {REGISTERED}\n')
    assert run('-c', code, folder=tmp_path).stdout.splitlines()[-1] == 'True'


@pytest.mark.parametrize('program', [['bin/ovseg'], ['-m', 'ovseg']])
def test_the_command_registers_before_it_runs_one(program, script, tmp_path):
    config = tmp_path / 'config.py'
    config.write_text("custom_imports = dict(imports=['ovseg', 'needs_registration'])\n")
    (tmp_path / 'needs_registration.py').write_text(REGISTERED)
    ended = run(*program, 'test', 'config.py', folder=tmp_path, PYTHONPATH=f'{ROOT}{os.pathsep}{tmp_path}')
    assert ended.stdout.splitlines()[0] == 'True', ended.stderr
    assert ended.returncode == 1 and ended.stderr == "ovseg: error: config.py has no 'model'\n"
