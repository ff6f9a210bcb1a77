"""A thousand images in one process: nothing is left behind."""
import gc
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovseg.apis import OVSegInferencer

MB = 2 ** 20


def resident():
    return int(Path('/proc/self/statm').read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE')


def open_files():
    return sorted(os.readlink(f'/proc/self/fd/{name}') for name in os.listdir('/proc/self/fd')
                  if os.path.exists(f'/proc/self/fd/{name}'))


@pytest.mark.attack
def test_memory_files_and_temporary_files_stay_as_they_are(attack, tmp_path, monkeypatch):
    (tmp_path / 'temporary').mkdir()
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path / 'temporary'))
    segment = OVSegInferencer('gated_tiny-clip')
    rng = np.random.default_rng(0)
    states = []
    for seed in range(1000):
        with attack.one_case(seed):
            size = rng.integers(40, 240, 2)  # nearly every image has a size of its own
            Image.fromarray(rng.integers(0, 256, (*size, 3)).astype(np.uint8)).save(tmp_path / 'image.png')
            found = segment(tmp_path / 'image.png', classes=['sky', 'grass', f'word {seed % 7}'], out_dir=tmp_path / 'out')
            assert found['predictions'][0].shape == tuple(size)
        if seed % 200 == 199:
            gc.collect()
            states.append((resident(), open_files(), os.listdir(tempfile.gettempdir())))
    growth = [(memory - states[0][0]) / MB for memory, _, _ in states]
    print(f'resident memory after 400, 600, 800 and 1,000 images, over that after 200, in MB: {np.round(growth[1:], 1)}')
    assert growth[-1] < 30
    assert states[-1][1] == states[0][1] and states[-1][2] == states[0][2]
    assert not list(tmp_path.rglob('*.part'))
