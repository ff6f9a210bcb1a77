import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ovseg
from ovseg.cli import main
from ovseg.datasets import demo_scenes_dataset
from ovseg.datasets.demo_scenes_dataset import DEMO_SCENES
from ovseg.demo import comparison
from ovseg.demo.textures import CLASSES

FEW = ('002', '008', '009', '030')  # scenes in which, together, every class occurs


def read(folder):
    return [np.array(Image.open(folder / f'{name}.png')) for name in FEW]


@pytest.fixture
def few_scenes(tmp_path, monkeypatch):
    """A copy of some scenes in place of all 60; every third of them goes into the contact sheet."""
    for name in FEW:
        for path in DEMO_SCENES.glob(f'*/{name}.*'):
            (tmp_path / 'scenes' / path.parent.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, tmp_path / 'scenes' / path.parent.name)
    monkeypatch.setattr(comparison, 'STEP', 3)
    for module in (comparison, demo_scenes_dataset):
        monkeypatch.setattr(module, 'DEMO_SCENES', tmp_path / 'scenes')


@pytest.mark.usefixtures('few_scenes')
def test_both_methods_are_scored_and_painted(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(['demo', '--out', 'results']) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert '4 held-out scenes, embedded tiny CLIP' in captured.out
    assert '┃ class      ┃ unmodified CLIP IoU ┃ Gated IoU ┃' in lines
    rows = {cells[0].strip(): [cell.strip() for cell in cells[1:]]
            for cells in (line.strip('│').split('│') for line in lines if line.startswith('│'))}
    truth = read(DEMO_SCENES / 'annotations')
    scores = {}
    for column, method in enumerate(('vanilla', 'gated')):
        found = read(tmp_path / 'results' / method)
        ious = []
        for index, name in enumerate(CLASSES):
            hits = sum(int(np.sum((a == index) & (b == index))) for a, b in zip(found, truth))
            union = sum(int(np.sum((a == index) | (b == index))) for a, b in zip(found, truth))
            ious.append(100 * hits / union)
            assert float(rows[name][column]) == pytest.approx(ious[-1], abs=0.051)
        scores[method] = np.mean(ious)
        assert float(rows['mean'][column]) == pytest.approx(scores[method], abs=0.051)
    assert len(rows) == len(CLASSES) + 1
    assert scores['gated'] > scores['vanilla']
    sheet = tmp_path / 'results' / 'contact_sheet.png'
    assert lines[-1] == f'Contact sheet: {sheet}'
    with Image.open(sheet) as image:
        assert min(image.size) > 100
    assert captured.err.splitlines() == ['segmenting 4 scenes: vanilla_tiny-clip_demo.py',
                                         'segmenting 4 scenes: gated_tiny-clip_demo.py']


def test_a_folder_that_cannot_be_made(tmp_path, capsys):
    (tmp_path / 'file').write_text('in the way')
    assert main(['demo', '--out', str(tmp_path / 'file' / 'results')]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith('ovseg: error: ')


def test_the_tool_of_the_checkout_is_the_command(monkeypatch, capsys):
    tool = str(Path(ovseg.__file__).parents[1] / 'tools' / 'demo.py')
    monkeypatch.setattr(sys, 'argv', [tool, '--help'])
    with pytest.raises(SystemExit) as finished:
        runpy.run_path(tool, run_name='__main__')
    assert finished.value.code == 0
    assert capsys.readouterr().out.startswith('usage: tools/demo.py [-h] [--debug] [--out DIR]')
