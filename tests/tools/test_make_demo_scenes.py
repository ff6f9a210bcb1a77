import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ovseg

ROOT = Path(ovseg.__file__).parents[1]
SHIPPED = ROOT / 'ovseg' / 'datasets' / 'resources' / 'demo_scenes'


def draw(monkeypatch, out, *options):
    tool = str(ROOT / 'tools' / 'make_demo_scenes.py')
    monkeypatch.setattr(sys, 'argv', [tool, '--out', str(out), *options])
    runpy.run_path(tool, run_name='__main__')


def labels(folder, index):
    return np.array(Image.open(folder / 'annotations' / f'{index:03d}.png'))


@pytest.fixture
def redrawn(tmp_path, monkeypatch):
    draw(monkeypatch, tmp_path, '--count', '3')
    return tmp_path


def test_the_shipped_scenes_can_be_redrawn(redrawn):
    assert sorted(path.name for path in (redrawn / 'images').iterdir()) == ['000.jpg', '001.jpg', '002.jpg']
    for index in range(3):
        image, shipped = (np.array(Image.open(folder / 'images' / f'{index:03d}.jpg')).astype(int)
                          for folder in (redrawn, SHIPPED))
        assert np.abs(image - shipped).mean() < 3
        assert (labels(redrawn, index) == labels(SHIPPED, index)).mean() > 0.99


def test_another_seed_draws_other_scenes(redrawn, tmp_path, monkeypatch):
    other = tmp_path / 'other'
    draw(monkeypatch, other, '--count', '1', '--seed', '5')
    assert labels(other, 0).shape != labels(redrawn, 0).shape or not np.array_equal(labels(other, 0), labels(redrawn, 0))
