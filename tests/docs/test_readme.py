"""The Python of README.md; its commands are run in test_every_page.py."""
import ast
import runpy
from pathlib import Path

import pytest
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS
from PIL import Image

PAGE = 'README.md'
MODEL, IN_PYTHON, CONFIG = runpy.run_path(str(Path(__file__).parent / 'pages.py'))['texts'](PAGE, 'python')


def test_the_model_is_built():
    namespace = {}
    exec(MODEL, namespace)
    namespace['model']['clip'] = dict(name='ovseg-tiny-clip', pretrained=None)
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(namespace['model'])
    assert [type(module).__name__ for module in model.post_processors.modules] == ['OutlierSuppression', 'CTD']
    assert model.out_channels == 150


def test_python_segments_the_scenes(checkout, capsys):
    exec(compile(IN_PYTHON, PAGE, 'exec'), {})
    name, areas = capsys.readouterr().out.splitlines()[-1].split(maxsplit=1)
    areas = ast.literal_eval(areas)
    assert name == '000' and sum(areas.values()) == pytest.approx(1)
    assert set(areas) <= {'zebra', 'grass', 'water'}
    for path in (checkout / 'ovseg').rglob('*.jpg'):
        with Image.open(path) as scene, Image.open(checkout / 'results' / 'pred' / f'{path.stem}.png') as labels:
            assert labels.size == scene.size


def test_the_config_is_evaluated(shell):
    (shell.folder / 'my_config.py').write_text(CONFIG)
    output = shell.run('python tools/test.py my_config.py')
    assert 'custom (16 classes)' in output
