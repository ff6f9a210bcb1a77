import runpy
from pathlib import Path

import numpy as np
from PIL import Image

import ovseg

TOOL = runpy.run_path(str(Path(ovseg.__file__).parents[1] / 'tools' / 'draw_methods.py'))
FILES = TOOL['DEMO_SCENES']


def test_the_baseline_is_the_first_of_all_configs():
    configs = TOOL['demo_configs']()
    assert next(iter(configs)) == 'vanilla'
    assert sorted(configs.values()) == sorted(configs['vanilla'].parent.glob('*_tiny-clip_demo.py')) and len(configs) > 10


def test_label_maps_are_those_of_the_scenes():
    configs = {name: path for name, path in TOOL['demo_configs']().items() if name in ('vanilla', 'gated')}
    maps = TOOL['label_maps'](configs, ('010', '024'))
    assert list(maps) == ['ground truth', 'vanilla', 'gated']
    for index, scene in enumerate(('010', '024')):
        expected = np.array(Image.open(FILES / 'annotations' / f'{scene}.png'))
        np.testing.assert_array_equal(maps['ground truth'][index], expected)
        assert {labels[index].shape for labels in maps.values()} == {expected.shape}
    right = {name: np.mean([(labels == expected).mean() for labels, expected in zip(found, maps['ground truth'])])
             for name, found in maps.items()}
    assert right['vanilla'] < right['gated'] and right['gated'] > 0.5
