"""The scores on the demo scenes that the page "methods compared" shows, measured by its command."""
import csv
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOLERANCE = 0.3  # another CPU rounds differently, and labels at a tie change


@pytest.mark.attack
def test_scores_of_all_methods_are_those_of_the_page(tmp_path):
    read, commands = map(runpy.run_path(str(ROOT / 'tests' / 'docs' / 'pages.py')).get, ('read', 'commands'))
    command, = (line for line in commands('docs/methods.md') if line.startswith('ovseg ablate '))
    *words, pattern = shlex.split(command)
    configs = [str(path.relative_to(ROOT)) for path in sorted(ROOT.glob(pattern))]
    subprocess.run([sys.executable, '-m', *words, *configs, '--work-dir', str(tmp_path)], cwd=ROOT, check=True,
                   capture_output=True, timeout=3600)
    with (tmp_path / 'table.csv').open(encoding='utf-8') as file:
        measured = {row['setting']: float(row['mIoU']) for row in csv.DictReader(file)}
    shown = dict(re.findall(r'^\| ([\w ()]+) \| (\d+\.\d+) \|\s+[+|]', read('docs/methods.md'), flags=re.MULTILINE))
    assert measured == pytest.approx({name: float(score) for name, score in shown.items()}, abs=TOLERANCE)
