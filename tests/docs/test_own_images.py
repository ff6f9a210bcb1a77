"""The code of the page "your own images and class names", run from top to bottom in an empty folder."""
import inspect
import runpy
from pathlib import Path

import pytest

from ovseg.apis import OVSegInferencer, downloads
from ovseg.claims import LOCK
from ovseg.image_files import FORMATS, MAX_FILE_BYTES

BLOCKS = runpy.run_path(str(Path(__file__).parent / 'pages.py'))['blocks']('docs/own_images.md')
PAIRS = list(zip(*([block.text for block in BLOCKS[start::2]] for start in range(2))))


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('own_images')


@pytest.fixture(scope='module')
def namespace():
    return {}


def test_every_block_has_its_output():
    assert [block.kind for block in BLOCKS] == ['python', 'text'] * 4


@pytest.mark.parametrize('code, output', PAIRS, ids=range(len(PAIRS)))
def test_blocks_print_what_the_page_says(code, output, folder, namespace, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    exec(compile(code, 'own_images.md', 'exec'), namespace)
    printed = [line for line in capsys.readouterr().out.splitlines(keepends=True) if ' - mmengine - ' not in line]
    assert ''.join(printed) == output


def test_the_files_are_those_that_the_page_names(folder):
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob('*')
                   if path.is_file() and path.name != LOCK)
    assert files == ['out/legend.json', 'out/pred/006.png', 'out/vis/006.png']


def test_the_limits_are_those_that_the_page_names():
    page = (Path(__file__).parents[2] / 'docs' / 'own_images.md').read_text(encoding='utf-8')
    assert inspect.signature(OVSegInferencer).parameters['max_pixels'].default == 80_000_000
    for text in (f'| {MAX_FILE_BYTES >> 20} MB,', f'| {downloads.MAX_BYTES >> 20} MB |',
                 f'| {downloads.TOTAL} s in all, {downloads.SILENCE} s without a byte |', '| 80 million;'):
        assert text in page
    assert 'AVIF, BMP, GIF, JPEG, JPEG 2000, PNG, PPM, Sun raster,' in page and len(FORMATS) == 10
