"""The code of the page "your own images and class names", run from top to bottom in an empty folder."""
import inspect
import json
import re
import runpy
from collections import OrderedDict
from pathlib import Path

import pytest
from mmengine.logging import MMLogger

from ovseg.apis import OVSegInferencer, downloads
from ovseg.apis.formats import FORMATS as FILE_FORMATS
from ovseg.apis.formats.geojson import WINDOW
from ovseg.apis.raster_labels import OVERVIEW
from ovseg.apis.reading import Reading
from ovseg.claims import LOCK
from ovseg.cli import main
from ovseg.image_files import FORMATS, MAX_FILE_BYTES

PAGES = runpy.run_path(str(Path(__file__).parent / 'pages.py'))
ODD = runpy.run_path(str(Path(__file__).parents[1] / 'odd_files.py'))
BLOCKS = [block for block in PAGES['blocks']('docs/own_images.md') if block.kind != 'command']
PAIRS = list(zip(*([block.text for block in BLOCKS[start::2]] for start in range(2))))


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('own_images')


@pytest.fixture(scope='module')
def namespace():
    return {}


def test_every_block_has_its_output():
    assert [block.kind for block in BLOCKS] == ['python', 'text'] * 5


@pytest.mark.parametrize('code, output', PAIRS, ids=range(len(PAIRS)))
def test_blocks_print_what_the_page_says(code, output, folder, namespace, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    exec(compile(code, 'own_images.md', 'exec'), namespace)
    printed = [line for line in capsys.readouterr().out.splitlines(keepends=True) if ' - mmengine - ' not in line]
    assert ''.join(printed) == output


def test_the_files_are_those_that_the_page_names(folder):
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob('*')
                   if path.is_file() and path.name != LOCK)
    assert files == ['areas/areas.csv', 'areas/pred/006.png', 'areas/results.json', 'areas/vis/006.png',
                     'out/pred/006.png', 'out/results.json', 'out/vis/006.png']


def test_the_keys_are_those_that_the_page_names(folder):
    page = PAGES['read']('docs/own_images.md')
    table = page[page.index('| key of `results.json`'):page.index('## Class names')]
    named = {key for line in table.splitlines() if line.startswith('|')
             for key in re.findall(r'`(\w+)`', line.split('|')[1])}
    document = json.loads((folder / 'out' / 'results.json').read_text(encoding='utf-8'))
    assert named - {'json'} == set(document)
    assert set(document['images'][0]) - {'file'} == {'name', 'source', 'size', 'files', 'areas'}


def outcomes():
    """Outcome and remark of each file in the page's table."""
    page = PAGES['read']('docs/own_images.md')
    rows = re.findall(r'^\| `([\w.]+)` \| (segmented|refused|left out) \|(.*)\|$', page, re.MULTILINE)
    return {name: (outcome, remark.strip()) for name, outcome, remark in rows}


def test_the_table_of_odd_files_has_all_of_them():
    assert sorted(outcomes()) == sorted(ODD['contents']()) and len(outcomes()) == 24


def test_odd_files_end_as_the_table_says(tmp_path, monkeypatch, capfd):
    pytest.importorskip('rasterio')
    pytest.importorskip('pillow_heif')
    monkeypatch.setattr(MMLogger, '_instance_dict', OrderedDict())
    ODD['write'](tmp_path / 'holiday')
    options = re.search(r'with `(--max-pixels[^`]*)`', PAGES['read']('docs/own_images.md'))[1].split()
    assert int(options[1]) == ODD['MAX_PIXELS']
    assert main(['predict', str(tmp_path / 'holiday'), '--classes', 'ladybug, snow, gravel, grass', '--out',
                 str(tmp_path / 'out'), *options, '--batch-size', '4', '--cfg-options', 'model.prompt_templates=plain']) == 1
    document = json.loads((tmp_path / 'out' / 'results.json').read_text(encoding='utf-8'))
    ends = dict.fromkeys((Path(image['source']).name for image in document['images']), 'segmented')
    ends.update({Path(failed['source']).name: 'refused' for failed in document['failed']})
    lines = capfd.readouterr().err.splitlines()
    left_out, = [line for line in lines if ' were left out, ' in line]
    ends.update({Path(path).name: 'left out' for path in left_out.split(': ')[-1].split(', ')})
    assert ends == {name: outcome for name, (outcome, _) in outcomes().items()}
    for name, (outcome, remark) in outcomes().items():
        if outcome == 'refused':
            line, = [line for line in lines if line.startswith('  ') and f'{tmp_path / "holiday" / name}' in line]
            assert remark in line
    names = {Path(image['source']).name: image for image in document['images']}
    assert names['photo.png']['name'] == 'photo_2' and names['phone.jpg']['size'] == [ODD['WIDTH'], ODD['HEIGHT']]
    assert {name for name, image in names.items() if image['files']['pred'].endswith('.tif')} == {'geo.tif', 'huge.tif'}
    for image in names.values():
        assert all((tmp_path / 'out' / path).is_file() for path in image['files'].values())


def test_the_commands_of_the_page_are_understood(shell):
    for command in PAGES['commands']('docs/own_images.md'):
        shell.parse(command)


def test_the_figures_of_tiles_are_those_of_the_page():
    page = PAGES['read']('docs/own_images.md')
    assert Reading() == (1024, 128, None, None, None)
    for text in ('native pixels (1024)', 'by `overlap` (128)', f'reduced to {OVERVIEW} pixels', f'cut every {WINDOW} pixels'):
        assert text in page
    assert re.findall(r'^\| `(\w+)` \| `', page[page.index('## Formats'):], re.MULTILINE) == list(FILE_FORMATS)
    for name, format_ in FILE_FORMATS.items():
        assert f'| `{name}` | `{format_.place}` |' in page


def test_the_limits_are_those_that_the_page_names():
    page = (Path(__file__).parents[2] / 'docs' / 'own_images.md').read_text(encoding='utf-8')
    assert inspect.signature(OVSegInferencer).parameters['max_pixels'].default == 80_000_000
    for text in (f'| {MAX_FILE_BYTES >> 20} MB,', f'| {downloads.MAX_BYTES >> 20} MB |',
                 f'| {downloads.TOTAL} s in all, {downloads.SILENCE} s without a byte |', '| 80 million;'):
        assert text in page
    assert 'AVIF, BMP, GIF, JPEG, JPEG 2000, PNG, PPM, Sun raster,' in page and len(FORMATS) == 10
