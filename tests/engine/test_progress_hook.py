import atexit
import io
import json
import re
import sys
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmengine.structures import PixelData
from mmengine.visualization import BaseVisBackend
from mmseg.registry import METRICS, MODELS, VISBACKENDS
from PIL import Image
from rich.console import Console

import ovseg
from ovseg.engine import ProgressHook, progress_hook

RUN = count()
CLASSES, IMAGES = 5, 7
RECORDED = []


@MODELS.register_module()
class FixedGuess(BaseModel):
    """Guesses a label map for each image, the same in every run, and keeps it; warns at one image, fails at another."""

    def __init__(self, warn_at=None, fail_at=None):
        super().__init__()
        self.warn_at, self.fail_at, self.guesses = warn_at, fail_at, {}

    def forward(self, inputs, data_samples=None, mode='predict'):
        for sample in data_samples:
            number = len(self.guesses)
            if number == self.warn_at:
                MMLogger.get_current_instance().warning('a warning')
            if number == self.fail_at:
                raise ValueError('no more')
            guess = np.random.default_rng(number).integers(0, CLASSES, sample.ori_shape)
            self.guesses[sample.img_path] = guess
            sample.pred_sem_seg = PixelData(data=torch.from_numpy(guess)[None])
        return data_samples


@METRICS.register_module()
class NumberOfImages(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results += [1] * len(data_samples)

    def compute_metrics(self, results):
        return dict(images=float(len(results)))


@VISBACKENDS.register_module()
class RecordingVisBackend(BaseVisBackend):
    experiment = None

    def __init__(self, save_dir=''):
        super().__init__(save_dir)

    def _init_env(self):
        pass

    def add_scalars(self, scalar_dict, step=0, file_path=None, **kwargs):
        RECORDED.append(dict(scalar_dict))


class Run:
    """A real ``Runner`` with the hook on a console of its own; calling it tests."""

    def __init__(self, folder, terminal=True, metric='IoUMetric', batch_size=1, **model):
        self.folder = folder
        self.console = Console(file=io.StringIO(), force_terminal=terminal, force_interactive=terminal, width=120)
        self.hook = ProgressHook(self.console)
        dataset = dict(type='BaseSegDataset', data_root=str(folder), img_suffix='.png',
                       metainfo=dict(classes=list('abcde'), palette=[[7 * i, 0, 0] for i in range(CLASSES)]),
                       data_prefix=dict(img_path='images', seg_map_path='annotations'),
                       pipeline=[dict(type='LoadImage'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')])
        self.runner = Runner(
            model=dict(type='FixedGuess', **model), work_dir=str(folder / 'logs'), default_scope='mmseg',
            experiment_name=f'progress_{next(RUN)}', log_processor=dict(by_epoch=False),
            default_hooks=dict(logger=dict(type='LoggerHook', interval=2)),
            visualizer=dict(type='SegLocalVisualizer', name=f'visualizer_{next(RUN)}',
                            vis_backends=[dict(type='LocalVisBackend'), dict(type='RecordingVisBackend')]),
            test_dataloader=dict(batch_size=batch_size, num_workers=0, dataset=dataset,
                                 sampler=dict(type='DefaultSampler', shuffle=False)),
            test_evaluator=dict(type=metric) if isinstance(metric, str) else metric, test_cfg=dict(type='TestLoop'))
        self.runner.register_hook(self.hook)
        self.handlers = self.runner.logger.handlers

    def __call__(self):
        RECORDED.clear()
        return self.runner.test()

    @property
    def shown(self):
        """Output on the console, without control sequences, line by line, each as it was when it was left."""
        text = re.sub(r'\x1b\[[\d;?]*[a-zA-Z]', '', self.console.file.getvalue())
        return [line.split('\r')[-1].strip() for line in text.splitlines() if line.strip()]


@pytest.fixture
def run(tmp_path):
    rng = np.random.default_rng(0)
    for folder in ('images', 'annotations'):
        (tmp_path / folder).mkdir()
    for index in range(IMAGES):
        Image.fromarray(rng.integers(0, 256, (11, 13, 3), np.uint8)).save(tmp_path / 'images' / f'{index}.png')
        labels = rng.integers(0, min(2 + index, CLASSES - 1), (11, 13), np.uint8)  # 'e' is never true, others come late
        labels[index, :3] = 255
        Image.fromarray(labels).save(tmp_path / 'annotations' / f'{index}.png')
    return lambda **options: Run(tmp_path, **options)


def scores_by_hand(guesses):
    """mIoU after each image, counted pixel by pixel."""
    hits, unions, scores = [0] * CLASSES, [0] * CLASSES, []
    for path in sorted(guesses):
        truth = np.array(Image.open(path.replace('images', 'annotations')))
        for guess, label in zip(guesses[path].flat, truth.flat):
            for k in range(CLASSES):
                hits[k] += guess == label == k
                unions[k] += label != 255 and k in (guess, label)
        seen = [hit / union for hit, union in zip(hits, unions) if union]
        scores.append(100 * sum(seen) / len(seen))
    return scores


@pytest.mark.parametrize('batch_size', [1, 3])
def test_the_score_so_far_is_counted_pixel_by_pixel(run, monkeypatch, batch_size):
    texts = []
    monkeypatch.setattr(progress_hook, 'SECONDS', 0)
    original = ProgressHook._running_score
    monkeypatch.setattr(ProgressHook, '_running_score', lambda *args: texts.append(original(*args)) or texts[-1])
    test = run(batch_size=batch_size)
    metrics = test()
    expected = scores_by_hand(test.runner.model.guesses)
    assert len({round(score, 2) for score in expected}) == IMAGES
    steps = [*range(batch_size, IMAGES, batch_size), IMAGES]
    assert [float(text.split('mIoU ')[1]) for text in texts] == pytest.approx([expected[n - 1] for n in steps], abs=0.006)
    assert metrics['mIoU'] == pytest.approx(expected[-1], abs=0.006)


def test_the_bar_ends_with_all_images_the_rate_and_the_final_score(run):
    test = run(batch_size=2)
    metrics = test()
    last = test.shown[-1]
    assert re.search(rf'^test ━+ {IMAGES}/{IMAGES} [\d.e+]+ images/s \d:\d\d:\d\d mIoU {metrics["mIoU"]:.2f}$', last)


def iteration_lines(text):
    return re.findall(r'Iter\(test\) \[(\d)/7\] +eta', text)


def test_lines_go_to_the_log_file_alone_and_warnings_above_the_bar(run, capfd):
    test = run(warn_at=3)
    before = [(handler.level, handler.stream) for handler in test.handlers]
    test()
    log, = (test.folder / 'logs').rglob('*.log')
    assert iteration_lines(log.read_text()) == ['2', '4', '6']
    out = capfd.readouterr().out
    assert iteration_lines(out) == [] and 'a warning' not in out
    assert 'per class results' in out  # when the bar is gone
    assert [line for line in test.shown[:-1] if 'a warning' in line]
    assert [(handler.level, handler.stream) for handler in test.handlers] == before


def test_without_a_terminal_there_are_lines_and_no_bar(run, capfd):
    test = run(terminal=False)
    test()
    assert iteration_lines(capfd.readouterr().out) == ['2', '4', '6']
    assert test.shown == []


@pytest.mark.parametrize('metric', ['NumberOfImages', dict(type='IoUMetric', format_only=True, output_dir='.')],
                         ids=['another metric', 'no ground truth'])
def test_without_scores_the_bar_has_none(run, metric, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    test = run(metric=metric)
    test()
    assert re.search(rf'^test ━+ {IMAGES}/{IMAGES} [\d.e+]+ images/s \d:\d\d:\d\d$', test.shown[-1])


def test_the_score_is_found_behind_another_metric(run):
    test = run(metric=[dict(type='NumberOfImages'), dict(type='IoUMetric')])
    assert test.shown == [] and f'mIoU {test()["mIoU"]:.2f}' in test.shown[-1]


def test_only_the_main_process_shows_a_bar(run, monkeypatch):
    monkeypatch.setattr(progress_hook, 'is_main_process', lambda: False)
    test = run()
    test()
    assert test.shown == []


def test_the_main_process_says_that_it_is_one_of_several(run, monkeypatch):
    monkeypatch.setattr(progress_hook, 'get_world_size', lambda: 3)
    test = run()
    test()
    assert test.shown[-1].startswith('test (process 1 of 3)')


def test_the_terminal_is_as_before_when_a_test_fails(run, monkeypatch):
    at_exit = []
    monkeypatch.setattr(atexit, 'register', at_exit.append)
    stdout, stderr = sys.stdout, sys.stderr
    test = run(fail_at=4)
    before = [(handler.level, handler.stream) for handler in test.handlers]
    with pytest.raises(ValueError, match='no more'):
        test()
    assert sys.stdout is not stdout  # the bar is still there
    for stop in at_exit:
        stop()
    assert f'4/{IMAGES}' in test.shown[-1]
    assert test.console.file.getvalue().endswith('\x1b[?25h')  # shows the cursor
    assert (sys.stdout, sys.stderr) == (stdout, stderr)
    assert [(handler.level, handler.stream) for handler in test.handlers] == before


@pytest.mark.parametrize('terminal', [True, False])
def test_the_metrics_reach_the_backends_of_the_visualizer(run, terminal):
    test = run(terminal=terminal)
    metrics = test()
    assert [metrics] == RECORDED and {'mIoU', 'aAcc', 'mAcc'} <= metrics.keys()
    local, = (test.folder / 'logs').rglob('scalars.json')
    assert json.loads(local.read_text()) == dict(metrics, step=0)


def test_every_config_has_the_hook():
    cfg = Config.fromfile(Path(ovseg.__file__).parents[1] / 'configs' / '_base_' / 'default_runtime.py')
    assert dict(type='ProgressHook') in cfg.custom_hooks
