"""docs/corpus.md: its commands are understood by their programs, its figures are those of the code, and its block runs."""
import inspect
import re
import runpy
import shlex
from pathlib import Path

import pytest

from ovseg.apis import result_folder
from ovseg.cli import main, parse_arguments
from ovseg.corpus import attempts, engine, nodes, progress

PAGE = 'docs/corpus.md'
PAGES = runpy.run_path(str(Path(__file__).parent / 'pages.py'))
TEXT, COMMANDS, (BLOCK,), (PRINTED,) = (PAGES['read'](PAGE), PAGES['commands'](PAGE), PAGES['texts'](PAGE, 'python'),
                                        PAGES['texts'](PAGE, 'text'))
PARQUET, = (command for command in COMMANDS if command.endswith(' --format parquet'))


@pytest.mark.parametrize('command', [command for command in COMMANDS if command.startswith('ovseg ')])
def test_commands_of_ovseg_are_understood(command):
    args = parse_arguments(shlex.split(command)[1:])  # patterns stay as they are
    if args.command == 'predict' and command != PARQUET:
        assert args.engine == 'ray' and '*' in args.images[0]


@pytest.mark.parametrize('command', [command for command in COMMANDS if command.startswith('ray ')])
def test_commands_of_ray_are_understood(command):
    scripts = pytest.importorskip('ray.scripts.scripts', reason='the engine needs Ray: pip install "ovseg[ray]"')
    _, name, *arguments = command.split()
    assert scripts.cli.commands[name].make_context(name, arguments).params['address' if '--address' in command else 'head']


def test_torchrun_gets_the_arguments_of_the_tool(shell):
    command, = [command for command in COMMANDS if command.startswith('torchrun ')]
    _, processes, tool, *arguments = command.split()
    assert re.fullmatch(r'--nproc_per_node=\d', processes)
    shell.parse(' '.join([tool, *arguments]))
    assert len(COMMANDS) == 7


def test_the_block_reads_what_is_written(tmp_path, monkeypatch, capsys):
    pytest.importorskip('pyarrow', reason='Parquet needs pyarrow')
    pytest.importorskip('pycocotools')
    monkeypatch.chdir(tmp_path)
    program, command, image, *arguments = shlex.split(PARQUET)
    assert program == 'ovseg'
    assert main([command, str(PAGES['ROOT'] / image), *arguments, '--device', 'cpu']) == 0
    capsys.readouterr()
    exec(compile(BLOCK, 'corpus.md', 'exec'), {})
    assert capsys.readouterr().out == PRINTED


def test_figures_are_those_of_the_code():
    assert f'`--cpus-per-worker` is {nodes.CPUS} by default, or' in TEXT
    assert f'done again: {engine.IMAGES_PER_TASK}, or one batch, or a {engine.MOST_TASKS:,}th' in TEXT
    assert progress.SECONDS == result_folder.SECONDS == 30 and attempts.MOST == 3


def test_the_columns_are_those_of_the_file():
    pytest.importorskip('pyarrow', reason='Parquet needs pyarrow')
    from ovseg.apis.formats import parquet
    table = TEXT[TEXT.index('| column |'):TEXT.index('```python')]
    lines = [line.split('|')[1] for line in table.splitlines() if line.startswith('| `')]
    named = [name for line in lines for name in re.findall(r'`(\w+)`', line)]
    schema = re.findall(r"\('(\w+)', arrow\.", inspect.getsource(parquet.write_parquet))
    assert named == schema
