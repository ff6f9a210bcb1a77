import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mmengine.logging import MMLogger
from PIL import Image

import ovseg

ROOT = Path(ovseg.__file__).parents[1]
SIZES = {'a': (61, 67), 'b': (71, 53), 'c': (43, 101), 'far/a': (37, 59), 'far/b': (73, 47)}
CONFIG = f"""
_base_ = ['{ROOT}/configs/demo/gated_tiny-clip_demo.py']
custom_imports = dict(imports=['ovseg', 'confusion_matrix'])
model = dict(vocabulary=dict(templates='plain'))
test_dataloader = dict(num_workers=0, dataset=dict(data_root='scenes'))
test_evaluator = [dict(type='IoUMetric', iou_metrics=['mIoU']), dict(type='ConfusionMatrix', prefix='confusion')]
"""
METRIC = """
import numpy as np
from mmengine.evaluator import BaseMetric
from mmseg.registry import METRICS

@METRICS.register_module()
class ConfusionMatrix(BaseMetric):
    def process(self, data_batch, data_samples):
        for sample in data_samples:
            truth, found = (sample[key]['data'].flatten().numpy() for key in ('gt_sem_seg', 'pred_sem_seg'))
            known = found < 16
            self.results.append(np.bincount(16 * truth[known] + found[known], minlength=16 * 16).reshape(16, 16))

    def compute_metrics(self, results):
        np.save('confusion.npy', sum(results))
        return dict(images=len(results))
"""
BROKEN_CONFIG = """
_base_ = ['config.py']
custom_imports = dict(imports=['ovseg', 'confusion_matrix', 'break_corner'])
model = dict(post_processors=['BreakCorner'])
"""
BREAK_CORNER = """
import torch
from ovseg.models.post_processors.post_processor import PostProcessor
from ovseg.registry import POST_PROCESSORS

@POST_PROCESSORS.register_module()
class BreakCorner(PostProcessor):
    stage = 'embeddings'

    def __call__(self, features):
        patches = features.patches.clone()
        patches[:, 0] = torch.nan
        return features.replace(patches=patches)
"""
SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do echo "$1" >> srun_options; shift; done
export SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NTASKS=1 SLURM_NODELIST=node[7]
exec "$@"
"""
SCONTROL = '#!/bin/bash\n[[ "$*" == "show hostnames node[7]" ]] && echo localhost\n'


@pytest.fixture
def folder(tmp_path, draw_scenes):
    draw_scenes(tmp_path / 'scenes', SIZES)
    (tmp_path / 'config.py').write_text(CONFIG)
    (tmp_path / 'confusion_matrix.py').write_text(METRIC)
    (tmp_path / 'bin').mkdir()
    for name, script in dict(srun=SRUN, scontrol=SCONTROL).items():
        (tmp_path / 'bin' / name).write_text(script)
        (tmp_path / 'bin' / name).chmod(0o755)
    return tmp_path


def free_port():
    with socket.socket() as sock:
        sock.bind(('127.0.0.1', 0))
        return str(sock.getsockname()[1])


def run(folder, script, *arguments):
    """Run a script as its user would, on CPU; returns its output and the confusion matrix that the metric saw."""
    port = free_port()
    path = os.pathsep.join([str(folder / 'bin'), str(Path(sys.executable).parent), os.environ['PATH']])
    finished = subprocess.run(
        [str(ROOT / 'tools' / script), *arguments], cwd=folder, capture_output=True, text=True, timeout=300,
        env={**os.environ, 'PYTHONPATH': f'{ROOT}{os.pathsep}{folder}', 'PATH': path, 'PORT': port, 'MASTER_PORT': port,
             'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''})
    assert finished.returncode == 0, finished.stderr
    return finished.stdout, np.load(folder / 'confusion.npy')


def label_maps(folder):
    return {str(path.relative_to(folder).with_suffix('')): np.array(Image.open(path)) for path in folder.rglob('*.png')}


def table(output):
    return [line for line in output.splitlines() if line.startswith(('|', '+'))]


def counted(found, truth):
    """The confusion matrix, one pixel at a time."""
    matrix = np.zeros((16, 16), np.int64)
    for name in truth:
        for pair in zip(truth[name].flat, found[name].flat):
            matrix[pair] += 1
    return matrix


@pytest.mark.slow
def test_an_uneven_split_changes_nothing(folder, in_process, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    alone = in_process('test.py', 'config.py', '--out', 'maps_1')
    assert len(table(alone)) == 16 + 4
    maps = label_maps(folder / 'maps_1')
    expected = counted(maps, label_maps(folder / 'scenes' / 'annotations'))
    assert np.array_equal(np.load('confusion.npy'), expected)
    for processes in (2, 3):
        output, confusion = run(folder, 'dist_test.sh', 'config.py', str(processes), '--out', f'maps_{processes}')
        assert np.array_equal(confusion, expected)
        assert table(output) == table(alone) and 'confusion/images: 5' in output
        together = label_maps(folder / f'maps_{processes}')
        assert together.keys() == maps.keys() == SIZES.keys()
        assert all(np.array_equal(together[name], maps[name]) for name in maps)


@pytest.mark.slow
def test_pixels_without_a_class_are_counted_over_all_processes(folder, in_process, monkeypatch):
    (folder / 'broken.py').write_text(BROKEN_CONFIG)
    (folder / 'break_corner.py').write_text(BREAK_CORNER)
    output, _ = run(folder, 'dist_test.sh', 'broken.py', '2', '--out', 'maps', '--boundary-iou')
    undefined = [int((labels == 255).sum()) for labels in label_maps(folder / 'maps').values()]
    assert len(undefined) == 5 and min(undefined) > 0  # one of the five is seen by both processes
    assert output.count('have no class') == 1
    assert f'WARNING - {sum(undefined)} pixels of 5 images have no class' in output
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    MMLogger.get_instance(str(folder))  # the current one writes to the output of the test that has made it
    scored = in_process('eval_predictions.py', 'config.py', 'maps', '--boundary-iou')
    assert len(table(output)) == 40 and table(scored) == table(output)  # mIoU and Boundary IoU of 16 classes


@pytest.mark.slow
def test_slurm_starts_the_processes(folder, monkeypatch):
    monkeypatch.delenv('MASTER_ADDR', raising=False)
    output, confusion = run(folder, 'slurm_test.sh', 'a-partition', 'a-job', 'config.py', '--out', 'maps')
    options = (folder / 'srun_options').read_text().split()
    assert {'--partition=a-partition', '--job-name=a-job', '--ntasks=4', '--gres=gpu:4'} < set(options)
    log_file, = re.findall(r'log file, .*: (\S+)', output)
    log = (folder / log_file).read_text()
    assert 'Distributed launcher: slurm' in log and 'Distributed training: True' in log
    assert np.array_equal(confusion, counted(label_maps(folder / 'maps'), label_maps(folder / 'scenes' / 'annotations')))
