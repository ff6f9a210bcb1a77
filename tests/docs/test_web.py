"""Statements of the page "web" about the command and of the page that it serves; the commands are run in test_every_page.py."""
import importlib.util
import re
import runpy
from pathlib import Path

import pytest

from ovseg import cli
from ovseg.cli import web
from ovseg.web.settings import Models
from ovseg.web.uploads import READABLE

read, inline = map(runpy.run_path(str(Path(__file__).parent / 'pages.py')).get, ('read', 'inline'))
PAGE, CODE = read('docs/web.md'), inline('docs/web.md')


@pytest.fixture
def arguments(monkeypatch):
    """Parsed arguments of ``ovseg web``."""
    def taken(*options):
        monkeypatch.setattr(web, 'run', lambda args: seen.append(args) or 0)
        assert cli.main(['web', *options]) == 0
        return seen.pop()
    seen = []
    return taken


def test_the_defaults_are_those_of_the_command(arguments):
    port, megabytes, millions = map(int, re.search(
        r'`--port`, (\d+);.*`--max-upload-mb` \((\d+)\).*`--max-pixels` \((\d+) million\)', PAGE, flags=re.DOTALL).groups())
    host, address_port = re.search(r'prints its address, `http://([\d.]+):(\d+)`', PAGE).groups()
    args = arguments()
    assert (args.port, args.max_upload_mb, args.max_pixels) == (port, megabytes, 1_000_000 * millions)
    assert (args.host, args.port) == (host, int(address_port))
    assert args.model is args.weights is args.device is None


def test_every_option_is_on_the_page(arguments):
    flags = {f'--{name.replace("_", "-")}' for name in vars(arguments()) if name not in ('command', 'error', 'run', 'usage')}
    assert flags == {flag for code in CODE for flag in re.findall(r'--[a-z-]+', code)}


def test_the_tiny_clip_takes_a_fifth_of_the_pixels():
    assert 'a fifth of it for the tiny CLIP' in PAGE
    assert Models(device='cpu', max_pixels=5 * 61 * 83).max_pixels == 61 * 83
    assert f'up to {READABLE // 10 ** 6} million pixels' in PAGE


@pytest.mark.skipif(importlib.util.find_spec('gradio') is None, reason='needs gradio')
def test_as_many_wait_as_the_page_says():
    from ovseg.web.app import QUEUE
    assert f'one at a time goes through the model, two at a time redraw a result, {QUEUE} may wait' in PAGE


@pytest.mark.skipif(importlib.util.find_spec('gradio') is None, reason='needs gradio')
def test_limits_are_those_of_the_code(arguments):
    from ovseg.web.app import CONNECTIONS
    from ovseg.web.guard import KEPT_FOLDERS, KEPT_UPLOADS
    from ovseg.web.segment import LONGEST_NAME, MOST_NAMES
    assert f'up to {MOST_NAMES} in a request, synonyms and background included, of up to {LONGEST_NAME} characters' in PAGE
    assert f'at most `--max-seconds` ({arguments().max_seconds})' in PAGE
    assert f'up to {CONNECTIONS} at a time' in PAGE and f'can occupy all {CONNECTIONS}' in PAGE
    assert f'at most {KEPT_FOLDERS} uploads and results and {KEPT_UPLOADS} times `--max-upload-mb`' in PAGE


def test_images_are_those_that_the_tool_makes():
    tool = (Path(cli.__file__).parents[2] / 'tools' / 'screenshots.py').read_text()
    assert re.findall(r'\(assets/([\w-]+\.jpg)\)', PAGE) == re.findall(r"'(web-[\w-]+\.jpg)'", tool)


def test_screenshots_are_small_files():
    assets = Path(cli.__file__).parents[2] / 'docs' / 'assets'
    names = re.findall(r'\(assets/([\w-]+\.jpg)\)', PAGE)
    assert names and all((assets / name).stat().st_size < 300_000 for name in names)
