import functools

import numpy as np
import pytest

from ovseg.apis import OVSegInferencer
from ovseg.datasets.demo_scenes_dataset import DEMO_SCENES


@pytest.fixture(scope='session')
def build():
    """Factory of inferencers with the tiny CLIP and one template, on the CPU."""
    def build_inferencer(model='gated_tiny-clip', templates=('a photo of {}.',), **kwargs):
        options = {'model.prompt_templates': list(templates), **kwargs.pop('cfg_options', {})}
        return OVSegInferencer(model, device='cpu', cfg_options=options, **kwargs)
    return build_inferencer


@pytest.fixture(scope='session')
def inferencer(build):
    return build()


@pytest.fixture(scope='session')
def scene():
    """The path of a demo scene by its number."""
    return lambda number: DEMO_SCENES / 'images' / f'{number:03d}.jpg'


@pytest.fixture(scope='session')
def noise():
    """A small image of random pixels, a prime number of them on each side."""
    @functools.cache
    def image(height=61, width=83, channels=3, seed=0):
        shape = (height, width, channels)[:3 if channels else 2]
        return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    return image
