"""Configs in mmengine's newer style, which import what they use: a ``type`` is the class itself."""
import pytest
from PIL import Image

from ovseg.apis import OVSegInferencer

CONFIG = """
from mmengine.config import read_base

with read_base():
    from .runtime import *

from mmengine.dataset import DefaultSampler
from mmseg.datasets.transforms import PackSegInputs
from mmseg.datasets.transforms.loading import LoadAnnotations
from mmseg.evaluation.metrics import IoUMetric

from ovseg.datasets import DemoScenesDataset
from ovseg.engine import CheckedTestLoop
from ovseg.models import CLIPSegmentor
from ovseg.models.post_processors import CTD

model = dict(type=CLIPSegmentor, clip_model='ovseg-tiny-clip', pretrained=None, name_path='demo_scenes', model_type='Gated',
             prompt_templates='plain', post_processors=[dict(type=CTD)])
test_dataloader = dict(
    batch_size=1, num_workers=0, sampler=dict(type=DefaultSampler, shuffle=False),
    dataset=dict(type=DemoScenesDataset, data_root='scenes', data_prefix=dict(img_path='images', seg_map_path='annotations'),
                 pipeline=[dict(type='LoadImage'), dict(type=LoadAnnotations), dict(type=PackSegInputs)]))
test_evaluator = dict(type=IoUMetric, iou_metrics=['mIoU'])
test_cfg = dict(type=CheckedTestLoop)
"""


@pytest.fixture
def config(tmp_path, draw_scenes, monkeypatch):
    """The config, in a folder of two scenes, in which the test then is."""
    (tmp_path / 'lazy.py').write_text(CONFIG)
    (tmp_path / 'runtime.py').write_text("default_scope = 'mmseg'\ncustom_imports = dict(imports=['ovseg'])\n")
    draw_scenes(tmp_path / 'scenes', {'a': (61, 67), 'b': (71, 53)})
    monkeypatch.chdir(tmp_path)
    return 'lazy.py'


@pytest.mark.parametrize('command, printed', [
    ('test.py lazy.py', ' mIoU: '), ('ablate.py lazy.py --toggle apply_similarity_enhancement', 'table.csv'),
    ('visualize.py lazy.py scenes/images/a.jpg --ground-truth scenes/annotations/a.png', 'errors.png')])
def test_tools_take_it(config, in_process, command, printed):
    assert printed in in_process(*command.split())


def test_the_data_set_is_known_by_its_class(config, in_process, capfd):
    with pytest.raises(SystemExit) as finished:  # two images of sixty
        in_process('check_dataset.py', config)
    output = capfd.readouterr().out
    assert finished.value.code
    assert 'DemoScenesDataset' in output and '60 in the published evaluation set' in output


def test_the_inferencer_takes_it(config):
    found = OVSegInferencer(config)('scenes/images/a.jpg', classes=['cat', 'grass'])
    assert found['predictions'][0].shape == Image.open('scenes/images/a.jpg').size[::-1]
