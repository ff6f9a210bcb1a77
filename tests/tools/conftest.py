import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ovseg
from ovseg.datasets.demo_scenes import draw_scene

TOOLS = Path(ovseg.__file__).parents[1] / 'tools'


@pytest.fixture(scope='session')
def draw_scenes():
    """Draws a scene of each size into images/NAME.jpg, and its labels into annotations/NAME.png."""
    def draw(root, sizes):
        for seed, (name, size) in enumerate(sizes.items()):
            scene = draw_scene(np.random.default_rng(seed), *size)
            for path, picture in ((f'images/{name}.jpg', scene.image), (f'annotations/{name}.png', scene.labels)):
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture).save(root / path)
        return root
    return draw


@pytest.fixture
def in_process(monkeypatch, capfd):
    """Runs a tool in this process, which has paid for the imports already; returns its output."""
    def run(name, *arguments):
        monkeypatch.setenv('LOCAL_RANK', '0')
        monkeypatch.setattr(sys, 'argv', [name, *map(str, arguments)])
        runpy.run_path(str(TOOLS / name), run_name='__main__')
        return capfd.readouterr().out
    return run
