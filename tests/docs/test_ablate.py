"""The commands of the page "ablations", run as its reader would."""
import csv
import re
import runpy
import shlex
from pathlib import Path

import pytest

import ovseg
from ovseg.ablation.axes import COMBINATIONS, SWITCHES
from ovseg.ablation.statistics import RESAMPLES

ROOT = Path(ovseg.__file__).parents[1]
PAGE = (ROOT / 'docs' / 'ablate.md').read_text()
COMMANDS = re.findall(r'^    (python .*)$', PAGE, flags=re.MULTILINE)
ROWS = [['baseline', '+ apply_ctd', '+ global_debias_factor'],
        ['baseline', 'top_k=5', 'top_k=10', '- apply_ctd, top_k=5', '- apply_ctd, top_k=10'],
        ['vanilla (baseline)', 'gated', 'gated_full'],
        ['baseline', '+ apply_outlier_suppression', 'top_k=5', 'top_k=30'] * 2]


@pytest.mark.parametrize('command, names', list(zip(COMMANDS, ROWS)), ids=range(len(ROWS)))
def test_commands_run(command, names, tmp_path, monkeypatch):
    (tmp_path / 'axes.yaml').write_text(re.search(r'```yaml\n(.*?)```', PAGE, flags=re.DOTALL)[1])
    (tmp_path / 'configs').symlink_to(ROOT / 'configs')
    monkeypatch.chdir(tmp_path)
    python, tool, *arguments = shlex.split(command)
    assert (python, tool) == ('python', 'tools/ablate.py')
    monkeypatch.setattr('sys.argv', [tool, *arguments, '--limit', '1', '--work-dir', 'out',
                                     '--cfg-options', 'test_dataloader.num_workers=0', 'model.prompt_templates=plain'])
    runpy.run_path(str(ROOT / tool), run_name='__main__')
    with (tmp_path / 'out' / 'table.csv').open() as file:
        assert [row['setting'] for row in csv.DictReader(file)] == names


def test_every_command_has_its_rows():
    assert len(COMMANDS) == len(ROWS)


def test_names_and_numbers_are_those_of_the_code():
    assert all(f'`{switch}`' in PAGE for switch in SWITCHES)
    assert all(f'`--{name}`' in PAGE for name in COMBINATIONS)
    assert f': {RESAMPLES} times' in PAGE
