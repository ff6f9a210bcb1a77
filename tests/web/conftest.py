import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovseg.datasets.demo_scenes_dataset import DEMO_SCENES
from ovseg.web.settings import Models

VISITOR = runpy.run_path(str(Path(__file__).parents[1] / 'visitor.py'))

@pytest.fixture(scope='session')
def models():
    """The tiny CLIP on the CPU, with one template in place of eighty."""
    models = Models(device='cpu', max_pixels=2_000_000)
    models.cfg.model.vocabulary.templates = ['a photo of {}.']
    return models


@pytest.fixture(scope='session')
def scene() -> Path:
    return DEMO_SCENES / 'images' / '006.jpg'


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (61, 83, 3), np.uint8)


@pytest.fixture
def image_file(tmp_path, noise) -> Path:
    path = tmp_path / 'noise.png'
    Image.fromarray(noise).save(path)
    return path


@pytest.fixture(scope='module')
def server_and_visitor(models, tmp_path_factory):
    """The page, served with uploads of a megabyte at most, and who visits it."""
    pytest.importorskip('gradio', reason='the web page needs gradio: pip install "ovseg[web]"')
    with VISITOR['served'](models, tmp_path_factory.mktemp('files'), max_upload_mb=1) as pair:
        yield pair


@pytest.fixture
def visitor(server_and_visitor):
    return server_and_visitor[1]


@pytest.fixture
def page(server_and_visitor):
    """The page that is served, as gradio knows it."""
    return server_and_visitor[0].config.app._page
