"""The blocks of the quick start page, run as from the root of a checkout."""
import re
import runpy
import shlex
from pathlib import Path

import pytest

from ovseg.cli import main

NAME = 'docs/index.md'
ROOT, read, texts, commands = map(runpy.run_path(str(Path(__file__).parent / 'pages.py')).get,
                                  ('ROOT', 'read', 'texts', 'commands'))
DEMO, PREDICT = commands(NAME)
PREDICTED, SEGMENTED = texts(NAME, 'text')
IN_PYTHON, = texts(NAME, 'python')


def test_make_knows_the_demo(shell):
    assert 'tools/demo.py' in shell.run(DEMO).splitlines()[-1]


def test_the_command_prints_and_writes_what_the_page_says(checkout, capsys):
    assert main(shlex.split(PREDICT)[1:]) == 0
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert printed == PREDICTED.splitlines()
    for path in printed[-2:]:
        assert (checkout / path).is_file()


@pytest.mark.usefixtures('checkout')
def test_python_prints_what_the_page_says(capsys):
    exec(compile(IN_PYTHON, 'index.md', 'exec'), {})
    assert capsys.readouterr().out == SEGMENTED


def test_linked_pages_exist():
    for page in re.findall(r'\]\((.*?)\)', read(NAME)):
        assert (ROOT / 'docs' / page).is_file(), page


def test_every_page_has_one_line():
    rows = re.findall(r'^\| \[[^]]+\]\((\w+\.\w+)\) \| [^|]+ \|$', read(NAME), flags=re.MULTILINE)
    pages = {path.name for pattern in ('*.md', '*.ipynb') for path in (ROOT / 'docs').glob(pattern)} - {Path(NAME).name}
    assert sorted(rows) == sorted(pages)
