"""MMSegmentation's own tools, as they are installed with it, on ovseg's configs."""
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import mmseg
import pytest
import torch
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS

import ovseg
from ovseg.config import read_config

ROOT = Path(ovseg.__file__).parents[1]
TOOLS = Path(mmseg.__file__).parent / '.mim' / 'tools'
SIZES = {'a': (61, 67), 'b': (71, 53), 'c': (43, 101)}


@pytest.fixture(scope='module')
def scenes(tmp_path_factory, draw_scenes):
    return draw_scenes(tmp_path_factory.mktemp('mmseg_tools') / 'scenes', SIZES)


@pytest.fixture(scope='module')
def config(scenes):
    """A config on top of the demo's, in its own folder."""
    path = scenes.parent / 'my_config.py'
    path.write_text(f"_base_ = ['{ROOT}/configs/demo/gated_tiny-clip_demo.py']\n"
                    "model = dict(vocabulary=dict(templates='plain'))\n"
                    f"test_dataloader = dict(num_workers=0, dataset=dict(data_root='{scenes}'))\n")
    return path


@pytest.fixture(scope='module')
def checkpoint(config):
    """Weights of the segmentor, other than those that the config names, as ``torch.save`` writes them."""
    with DefaultScope.overwrite_default_scope('mmseg'):
        segmentor = MODELS.build(read_config(config, {}).model)
    with torch.no_grad():
        segmentor.tower.visual.proj.copy_(segmentor.tower.visual.proj.flip(0))
    path = config.parent / 'saved.pth'
    torch.save(dict(state_dict=segmentor.state_dict(), meta={}), path)
    return path


def run(tool, folder, *arguments):
    finished = subprocess.run([sys.executable, str(tool), *map(str, arguments)], cwd=folder, capture_output=True, text=True,
                              timeout=300, env={**os.environ, 'PYTHONPATH': str(ROOT)})
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def scores_in(output):
    return re.findall(r'aAcc: +([\d.]+) +mIoU: +([\d.]+) +mAcc: +([\d.]+)', output)


@pytest.mark.slow
def test_test_py_takes_a_checkpoint_saved_from_the_segmentor(config, checkpoint):
    theirs = run(TOOLS / 'test.py', config.parent, config, checkpoint, '--work-dir', 'theirs')
    ours = run(ROOT / 'tools' / 'test.py', config.parent, config, checkpoint, '--work-dir', 'ours')
    without = run(ROOT / 'tools' / 'test.py', config.parent, config, '--work-dir', 'without')
    assert len(scores_in(theirs)) == 1
    assert scores_in(theirs) == scores_in(ours) != scores_in(without)


@pytest.mark.slow
def test_benchmark_py_times_the_segmentor(config, checkpoint):
    repeated = config.parent / 'repeated.py'  # it goes on until it has seen 200 images
    repeated.write_text("_base_ = ['my_config.py']\ndataset = {{_base_.test_dataloader.dataset}}\n"
                        "test_dataloader = dict(dataset=dict(_delete_=True, type='RepeatDataset', times=67,\n"
                        "                                    dataset=dataset))\n")
    run(TOOLS / 'analysis_tools' / 'benchmark.py', config.parent, repeated, checkpoint, '--work-dir', 'fps')
    written, = (config.parent / 'fps').glob('fps_*.json')
    assert json.loads(written.read_text())['average_fps'] > 0
