"""The blocks of the quick start page, run as from the root of a checkout."""
import re
import shlex
import shutil
import subprocess
from collections import OrderedDict
from pathlib import Path

import pytest
from mmengine.logging import MMLogger

import ovseg
from ovseg.cli import main

ROOT = Path(ovseg.__file__).parents[1]
PAGE = (ROOT / 'docs' / 'index.md').read_text(encoding='utf-8')


def blocks(language):
    return re.findall(rf'```{language}\n(.*?)```', PAGE, flags=re.DOTALL)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A folder to write into, with the package where a checkout has it."""
    (tmp_path / 'ovseg').symlink_to(ROOT / 'ovseg')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(MMLogger, '_instance_dict', OrderedDict())  # one made here would keep the stream of capsys
    return tmp_path


def test_there_are_no_other_blocks():
    assert PAGE.count('```') == 2 * (len(blocks('sh')) + len(blocks('python')) + len(blocks('text'))) == 10
    assert [block.split()[0] for block in blocks('sh')] == ['make', 'ovseg']


@pytest.mark.skipif(shutil.which('make') is None, reason='needs make')
def test_make_knows_the_demo():
    command = [*shlex.split(blocks('sh')[0]), '--dry-run', '--no-print-directory']  # tests may run under make themselves
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert 'tools/demo.py' in finished.stdout.splitlines()[-1]


def test_the_command_prints_and_writes_what_the_page_says(checkout, capsys):
    assert main(shlex.split(blocks('sh')[1])[1:]) == 0
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert printed == blocks('text')[0].splitlines()
    for path in printed[-2:]:
        assert (checkout / path).is_file()


@pytest.mark.usefixtures('checkout')
def test_python_prints_what_the_page_says(capsys):
    exec(compile(blocks('python')[0], 'index.md', 'exec'), {})
    assert capsys.readouterr().out == blocks('text')[1]


def test_linked_pages_exist():
    for page in re.findall(r'\]\((.*?)\)', PAGE):
        assert (ROOT / 'docs' / page).is_file(), page
