import runpy
import sys
from pathlib import Path

import pytest

import ovseg

TOOLS = Path(ovseg.__file__).parents[1] / 'tools'


@pytest.fixture
def in_process(monkeypatch, capfd):
    """Runs a tool in this process, which has paid for the imports already; returns its output."""
    def run(name, *arguments):
        monkeypatch.setenv('LOCAL_RANK', '0')
        monkeypatch.setattr(sys, 'argv', [name, *map(str, arguments)])
        runpy.run_path(str(TOOLS / name), run_name='__main__')
        return capfd.readouterr().out
    return run
