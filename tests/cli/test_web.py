import importlib.util
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from ovseg.cli import main
from ovseg.cli.web import listen

NOT_THERE = 'ovseg web needs gradio: pip install "ovseg[web]"'


def test_without_gradio_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr('ovseg.cli.web.find_spec', lambda name: None)
    assert main(['web']) == 1
    assert re.fullmatch(r'ovseg: error: the web page needs gradio: .*pip install -e ".*\[web\]"\n', capsys.readouterr().err)


def test_an_occupied_port_is_named():
    with listen('127.0.0.1', 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(OSError, match=rf'cannot listen on --host 127\.0\.0\.1 --port {port} \(.*use.*\)'):
            listen('127.0.0.1', port)


@pytest.mark.parametrize('port', [-1, 65536])
def test_ports_that_cannot_be(port):
    with pytest.raises(ValueError, match=f'--port={port} must be an integer from 0 to 65535'):
        listen('127.0.0.1', port)


def test_a_host_that_cannot_be_is_named():
    with pytest.raises(OSError, match=r'cannot listen on --host my\.\.host --port 0 \(.*\): choose another host'):
        listen('my..host', 0)


@pytest.mark.skipif(importlib.util.find_spec('gradio') is None, reason=NOT_THERE)
@pytest.mark.parametrize(('arguments', 'message'), [
    (['--device', 'nonsense'], "device='nonsense' cannot be used"),
    (['--weights', 'no_such.pt'], "clip.pretrained='no_such.pt' is neither a tag"),
    (['--max-seconds', '0'], '--max-seconds=0 must be an integer >= 1'),
    (['--max-pixels', '0'], 'max_pixels=0 must be an integer >= 1'),
    (['--model', 'other.py'], 'the model of other.py is a SegDataPreProcessor')])
def test_what_no_request_could_ever_use_is_refused_at_the_start(arguments, message, tmp_path, monkeypatch, capsys):
    for name in ('GRADIO_TEMP_DIR', 'OVSEG_CACHE', 'GRADIO_ANALYTICS_ENABLED'):
        monkeypatch.setenv(name, '')  # to be taken back after the test
    monkeypatch.chdir(tmp_path)
    Path('other.py').write_text("model = dict(type='SegDataPreProcessor')\ntest_dataloader = dict(dataset=dict(pipeline=[]))")
    monkeypatch.setattr('uvicorn.Server.run', lambda *args, **kwargs: pytest.fail('it serves'))  # and would go on for ever
    assert main(['web', '--port', '0', *arguments]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith(f'ovseg: error: {message}')


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec('gradio') is None, reason=NOT_THERE)
def test_it_serves_this_machine_and_leaves_nothing_behind(tmp_path):
    # killed, it leaves its folder to the next, which removes it; Ctrl-C has it remove its own
    for end, left in ((signal.SIGKILL, 1), (signal.SIGINT, 0)):
        serve_and_end(tmp_path, end, left)


def serve_and_end(tmp_path, end, left):
    folders = {name: tmp_path / name for name in ('home', 'temporary', 'working')}
    for folder in folders.values():
        folder.mkdir(exist_ok=True)
    environment = {**os.environ, 'HOME': str(folders['home']), 'TMPDIR': str(folders['temporary']), 'PYTHONUNBUFFERED': '1',
                   'PYTHONPATH': str(Path(__file__).parents[2]), 'XDG_CACHE_HOME': str(tmp_path / 'caches'),
                   'MPLCONFIGDIR': str(tmp_path / 'caches')}  # of yapf and matplotlib, which fill them on import
    process = subprocess.Popen([sys.executable, '-m', 'ovseg', 'web', '--port', '0', '--device', 'cpu',
                                '--allow-host', 'demo.example.org'], text=True,
                               cwd=folders['working'], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        url = re.search(r'http://127\.0\.0\.1:\d+', process.stdout.readline()).group()
        with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310  our own server
            page = answer.read().decode()
        assert 'ovseg-tiny-clip' in page
        assert [status_with(url, Host=name) for name in ('demo.example.org', 'evil.org')] == [200, 403]
        origins = (url, 'https://demo.example.org', 'http://127.0.0.1:1', 'http://127.0.0.1')  # of pages that send requests
        assert [status_with(url, Origin=origin) for origin in origins] == [200, 200, 403, 403]
        assert len(list(folders['temporary'].glob('ovseg-web-*'))) == 1
    finally:
        process.send_signal(end)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == (130 if end == signal.SIGINT else -end) and 'Traceback' not in errors, errors
    assert [path for name in ('home', 'working') for path in folders[name].rglob('*')] == []
    assert len(list(folders['temporary'].iterdir())) == left


def status_with(url, **headers):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60) as answer:  # noqa: S310
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
