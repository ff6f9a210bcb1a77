import importlib.util
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from ovseg.cli import main
from ovseg.cli.web import listen

NOT_THERE = 'ovseg web needs gradio: pip install "ovseg[web]"'


def test_without_gradio_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr('ovseg.cli.web.find_spec', lambda name: None)
    assert main(['web']) == 1
    assert 'pip install "ovseg[web]"' in capsys.readouterr().err


def test_an_occupied_port_is_named():
    with listen('127.0.0.1', 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(OSError, match=rf'cannot listen on --host 127\.0\.0\.1 --port {port} \(.*use.*\)'):
            listen('127.0.0.1', port)


@pytest.mark.parametrize('port', [-1, 65536])
def test_ports_that_cannot_be(port):
    with pytest.raises(ValueError, match=f'--port={port} must be an integer from 0 to 65535'):
        listen('127.0.0.1', port)


@pytest.mark.skipif(importlib.util.find_spec('gradio') is None, reason=NOT_THERE)
def test_it_serves_this_machine_and_leaves_nothing_behind(tmp_path):
    folders = {name: tmp_path / name for name in ('home', 'temporary', 'working')}
    for folder in folders.values():
        folder.mkdir()
    environment = {**os.environ, 'HOME': str(folders['home']), 'TMPDIR': str(folders['temporary']), 'PYTHONUNBUFFERED': '1',
                   'PYTHONPATH': str(Path(__file__).parents[2]), 'XDG_CACHE_HOME': str(tmp_path / 'caches'),
                   'MPLCONFIGDIR': str(tmp_path / 'caches')}  # of yapf and matplotlib, which fill them on import
    process = subprocess.Popen([sys.executable, '-m', 'ovseg', 'web', '--port', '0', '--device', 'cpu'], text=True,
                               cwd=folders['working'], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        url = re.search(r'http://127\.0\.0\.1:\d+', process.stdout.readline()).group()
        with urllib.request.urlopen(url, timeout=60) as answer:
            page = answer.read().decode()
        assert 'ovseg-tiny-clip' in page
        assert len(list(folders['temporary'].glob('ovseg-web-*'))) == 1
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0 and 'Traceback' not in errors, errors
    assert [path for folder in folders.values() for path in folder.rglob('*')] == []
