"""The config of the page "own data set", run on folders as the page describes them."""
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ovseg

ROOT = Path(ovseg.__file__).parents[1]
CONFIG, = re.findall(r'```python\n(.*?)```', (ROOT / 'docs' / 'own_dataset.md').read_text(), flags=re.DOTALL)


def test_the_config_scores_the_readers_own_folders(tmp_path, monkeypatch, capfd):
    rng = np.random.default_rng(0)
    truths = {}
    for name, size in {'first': (61, 83), 'second': (71, 53)}.items():
        truths[name] = rng.integers(0, 3, size).astype(np.uint8)
        truths[name][0] = 255
        for folder, suffix, array in (('images', 'jpg', rng.integers(0, 256, (*size, 3))), ('labels', 'png', truths[name])):
            (tmp_path / 'my_data' / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array.astype(np.uint8)).save(tmp_path / 'my_data' / folder / f'{name}.{suffix}')
    assert "'configs/" in CONFIG
    config = CONFIG.replace("'configs/", f"'{ROOT}/configs/").replace('(2048, 336)', '(2048, 97)')
    (tmp_path / 'my_config.py').write_text(config)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('LOCAL_RANK', '0')
    monkeypatch.setattr(sys, 'argv', [str(ROOT / 'tools' / 'test.py'), 'my_config.py', '--out', 'maps', '--cfg-options',
                                      'test_dataloader.num_workers=0'])
    runpy.run_path(sys.argv[0], run_name='__main__')
    hits, unions = np.zeros(3), np.zeros(3)
    for name, truth in truths.items():
        found = np.array(Image.open(tmp_path / 'maps' / f'{name}.png'))
        for k in range(3):
            hits[k] += ((found == k) & (truth == k)).sum()
            unions[k] += (((found == k) | (truth == k)) & (truth < 255)).sum()
    score, = (float(value) for value in re.findall(r'mIoU: +([\d.]+)', capfd.readouterr().out))
    assert score == pytest.approx(100 * (hits[unions > 0] / unions[unions > 0]).mean(), abs=0.01)
