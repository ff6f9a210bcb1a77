"""The config of the page "own data set", run on folders as the page describes them."""
import re
import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

texts, commands = map(runpy.run_path(str(Path(__file__).parent / 'pages.py')).get, ('texts', 'commands'))
CONFIG, = texts('docs/own_dataset.md', 'python')
COMMAND, = commands('docs/own_dataset.md')


def test_the_config_scores_the_readers_own_folders(shell):
    rng = np.random.default_rng(0)
    truths = {}
    for name, size in {'first': (61, 83), 'second': (71, 53)}.items():
        truths[name] = rng.integers(0, 3, size).astype(np.uint8)
        truths[name][0] = 255
        for folder, suffix, array in (('images', 'jpg', rng.integers(0, 256, (*size, 3))), ('labels', 'png', truths[name])):
            (shell.folder / 'my_data' / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array.astype(np.uint8)).save(shell.folder / 'my_data' / folder / f'{name}.{suffix}')
    (shell.folder / 'my_config.py').write_text(CONFIG.replace('(2048, 336)', '(2048, 97)'))
    output = shell.run(f'{COMMAND} --out maps')
    hits, unions = np.zeros(3), np.zeros(3)
    for name, truth in truths.items():
        found = np.array(Image.open(shell.folder / 'maps' / f'{name}.png'))
        for k in range(3):
            hits[k] += ((found == k) & (truth == k)).sum()
            unions[k] += (((found == k) | (truth == k)) & (truth < 255)).sum()
    score, = (float(value) for value in re.findall(r'mIoU: +([\d.]+)', output))
    assert score == pytest.approx(100 * (hits[unions > 0] / unions[unions > 0]).mean(), abs=0.01)
