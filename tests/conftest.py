"""Fixtures that test files share."""
import os
import signal
from fractions import Fraction
from math import floor
from pathlib import Path
from typing import Any, Callable, Iterator, List, Set, Tuple

import numpy as np
import pytest
import torch
from open_clip.transformer import VisionTransformer
from PIL import Image

from ovseg.demo.scenes import draw_scene  # registers everything, too

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that starts tests in the background has it ignored
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
def one_thread() -> Iterator[None]:
    """torch on one thread: small tensors are slower on several, and the workers of ``ovseg predict --engine ray`` have one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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
            for path, pixels in ((f'images/{name}.jpg', scene.image), (f'annotations/{name}.png', scene.labels)):
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(root / path)
        return root
    return draw


@pytest.fixture
def labelled(tmp_path):
    """The config of a data set: images of several sizes, two of one name, labels of all ``classes`` and pixels to ignore."""
    sizes = {'a': (5, 7), 'b': (11, 3), 'near/c': (7, 13), 'far/c': (3, 5), 'far/d': (13, 11)}

    def build(classes, reduce_zero_label):
        rng = np.random.default_rng(0)
        for name, size in sizes.items():
            labels = rng.integers(0, classes + reduce_zero_label, size).astype(np.uint8)
            labels[1, 1] = 255
            for path, picture in ((f'images/{name}.jpg', np.zeros((*size, 3), np.uint8)), (f'annotations/{name}.png', labels)):
                (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture).save(tmp_path / path)
        return dict(type='BaseSegDataset', data_root=str(tmp_path), reduce_zero_label=bool(reduce_zero_label),
                    metainfo=dict(classes=[f'class {index}' for index in range(classes)]),
                    data_prefix=dict(img_path='images', seg_map_path='annotations'),
                    pipeline=[dict(type='LoadImage'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')])
    return build


def _reached(size: int, crop: int, stride: int, patch: int, pad_mode: str, out_size: int) -> List[List[Set[int]]]:
    """Along one axis: per window and cell the output positions that have a weight from it, in exact fractions."""
    def sources(position: int, length: int, count: int) -> List[int]:
        """The cells, of ``count``, between which bilinear interpolation to ``length`` lies; none of weight 0."""
        place = max(Fraction(2 * position + 1, 2) * Fraction(count, length) - Fraction(1, 2), Fraction(0))
        return [cell for cell in (floor(place), floor(place) + 1) if cell < count and abs(place - cell) < 1]

    length = min(crop or size, size)
    starts = [0]
    while starts[-1] + length < size:
        starts.append(min(starts[-1] + stride, size - length))
    cells = -(-length // patch) if pad_mode == 'center' else length // patch
    padded = cells * patch if pad_mode == 'center' else length
    reached: List[List[Set[int]]] = [[set() for _ in range(cells)] for _ in starts]
    for position in range(out_size):
        for pixel in sources(position, out_size, size):
            for start, window in zip(starts, reached):
                if start <= pixel < start + length:
                    for cell in sources(pixel - start + (padded - length) // 2, padded, cells):
                        window[cell].add(position)
    return reached


@pytest.fixture(scope='session')
def undefined_by_loop() -> Callable[..., np.ndarray]:
    """The pixels ``(H, W)`` that have a weight from a patch of ``nonfinite (windows, N)``, one patch at a time."""
    def undefined(nonfinite: Any, size: Tuple[int, int], crop: int, stride: int, patch: Tuple[int, int], pad_mode: str,
                  out_size: Tuple[int, int]) -> np.ndarray:
        rows, cols = (_reached(*axis) for axis in zip(size, (crop, crop), (stride, stride), patch, (pad_mode,) * 2, out_size))
        found = np.zeros(out_size, bool)
        for number, window in enumerate(np.asarray(nonfinite)):
            for cell in window.nonzero()[0]:
                row, col = rows[number // len(cols)], cols[number % len(cols)]
                found[np.ix_(sorted(row[cell // len(col)]), sorted(col[cell % len(col)]))] = True
        assert len(rows) * len(cols) == number + 1
        return found
    return undefined
