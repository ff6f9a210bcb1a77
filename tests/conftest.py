"""Fixtures that test files share."""
import os
from pathlib import Path
from typing import Any, Callable, Iterator

import numpy as np
import pytest
import torch
from open_clip.transformer import VisionTransformer
from PIL import Image

from ovseg.datasets.demo_scenes import draw_scene

if 'PYTEST_XDIST_WORKER' in os.environ:
    torch.set_num_threads(1)  # the cores are shared among the workers


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope='session', autouse=True)
def _cache_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests, and what they start, never read or write the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('OVSEG_CACHE', str(tmp_path_factory.mktemp('ovseg_cache')))
        yield


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(20260213)


@pytest.fixture(scope='session')
def goldens_dir() -> Path:
    return Path(__file__).parent / 'data' / 'goldens'


@pytest.fixture
def tiny_vit() -> Callable[..., VisionTransformer]:
    """Factory of random ViTs: grid 3 x 5, D=22, H=2, d=11, L=5, E=13 unless asked otherwise."""
    def build(grid_size=(3, 5), patch_size=7, width=22, layers=5, heads=2, output_dim=13, **kwargs: Any):
        image_size = tuple(size * patch_size for size in grid_size)
        visual = VisionTransformer(image_size, patch_size, width, layers, heads, 2.0, output_dim=output_dim, **kwargs)
        # biases of 0, norms of 1 and a LayerScale of 1e-5 would hide mistakes
        with torch.no_grad():
            for parameter in visual.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.2)
        return visual.eval()
    return build


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
