"""The commands of the page "ablations", run as its reader would."""
import csv
import runpy
from pathlib import Path

import pytest

from ovseg.ablation.axes import parse_grid
from ovseg.ablation.choices import COMBINATIONS, SWITCHES
from ovseg.ablation.statistics import RESAMPLES

NAME = 'docs/ablate.md'
read, texts, commands, inline = map(runpy.run_path(str(Path(__file__).parent / 'pages.py')).get,
                                    ('read', 'texts', 'commands', 'inline'))
PAGE = read(NAME)
ROWS = [['baseline', '+ apply_ctd', '+ global_debias_factor'],
        ['baseline', 'top_k=5', 'top_k=10', '- apply_ctd, top_k=5', '- apply_ctd, top_k=10'],
        ['vanilla (baseline)', 'gated', 'gated_full'],
        ['baseline', '+ apply_outlier_suppression', 'top_k=5', 'top_k=30'] * 2,
        ['baseline', 'vocabulary=plain', 'vocabulary=article', 'templates=plain', 'templates=imagenet7']]


@pytest.mark.parametrize('command, names', list(zip(commands(NAME), ROWS)), ids=range(len(ROWS)))
def test_commands_run(command, names, shell):
    axes, = texts(NAME, 'yaml')
    (shell.folder / 'axes.yaml').write_text(axes)
    shell.run(command)
    table, = shell.folder.glob('work_dirs/ablate_*_tiny-clip_demo/table.csv')  # the default that the page gives
    with table.open() as file:
        assert [row['setting'] for row in csv.DictReader(file)] == names


def test_every_command_has_its_rows():
    assert len(commands(NAME)) == len(ROWS)


def test_the_grid_of_the_table_is_read():
    grid, = (code for code in inline(NAME) if code.startswith('model.') and ',' in code)
    assert parse_grid([grid]) == {'model.outlier_suppression_cfg.top_k': [5, 10, 30]}


def test_names_and_numbers_are_those_of_the_code():
    assert all(f'`{switch}`' in PAGE for switch in SWITCHES)
    assert all(f'`--{name}`' in PAGE for name in COMBINATIONS)
    assert f'with replacement {RESAMPLES} times' in PAGE
