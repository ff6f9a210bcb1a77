"""The decoder under random window geometries, compared with a plain loop over windows."""
import random
import runpy
from pathlib import Path

import pytest
import torch

from ovseg.inference.decode import best_texts, merge_windows
from ovseg.inference.windows import WindowLayout

loop_merge = runpy.run_path(str(Path(__file__).parents[1] / 'window_loops.py'))['loop_merge']

PATCHES = [(1, 1), (2, 2), (5, 5), (3, 7), (7, 2), (14, 14), (16, 16)]
pytestmark = pytest.mark.usefixtures('one_thread')
MAX_WINDOWS, MAX_CELLS = 60, 50_000  # so that a case takes milliseconds


def random_geometry(rng):
    """Image size, crop, stride, patch, pad mode and output size; one side may be long."""
    while True:
        patch, pad_mode = rng.choice(PATCHES), rng.choice(['center', 'none'])
        least = max(patch) if pad_mode == 'none' else 1
        size = [least + rng.randrange(rng.choice([1, 7, 71])) for _ in range(2)]
        out_size = [rng.choice([side, 1 + rng.randrange(97)]) for side in size]
        if rng.random() < 0.3:
            axis = rng.randrange(2)
            size[axis] = least + rng.randrange(rng.choice([300, 5000]))
            out_size[axis] = rng.choice([size[axis], 1 + rng.randrange(rng.choice([100, 3000]))])
        crop = rng.choice([0, 0, 10 ** 6, *[least + rng.randrange(rng.choice([3, 71, 700])) for _ in range(6)]])
        stride = rng.randint(max(1, crop // 5), crop) if crop else 0
        layout = WindowLayout.plan(size, crop, stride, patch, pad_mode)
        if len(layout) <= MAX_WINDOWS and len(layout) * layout.rows.cells * layout.cols.cells < MAX_CELLS:
            return tuple(size), crop, stride, patch, pad_mode, tuple(out_size)


def test_the_decoder_equals_the_plain_loop(attack):
    for seed in attack.seeds(200, 9_000):
        with attack.one_case(seed):
            rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
            size, crop, stride, patch, pad_mode, out_size = geometry = random_geometry(rng)
            layout = WindowLayout.plan(size, crop, stride, patch, pad_mode)
            patches = torch.randn(len(layout), layout.rows.cells * layout.cols.cells, 3, generator=generator)
            queries = torch.randn(rng.choice([1, 2, 5]), 3, generator=generator)
            expected = loop_merge(patches @ queries.t(), *geometry)
            torch.testing.assert_close(merge_windows(patches @ queries.t(), layout, out_size), expected, atol=2e-5, rtol=1e-5,
                                       msg=lambda text, geometry=geometry: f'{geometry}: {text}')
            memory_mb = rng.choice([1e-6, 0.02, 256])
            best = best_texts(patches, queries, layout, out_size, 3.7, True, memory_mb)
            index, probability = best.index, best.probability()
            chosen = expected.gather(0, index.unsqueeze(0))[0]
            torch.testing.assert_close(chosen, expected.amax(0), atol=1e-4, rtol=1e-5)  # two may be equal to rounding
            torch.testing.assert_close(probability, (3.7 * expected).softmax(0).amax(0), atol=1e-4, rtol=1e-3)
