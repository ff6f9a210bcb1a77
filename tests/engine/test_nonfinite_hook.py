import logging
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmseg.evaluation import IoUMetric
from mmseg.registry import HOOKS
from mmseg.structures import SegDataSample

from ovseg.evaluation import undefined_pixels
from ovseg.resources import configs_dir


def samples(*pixels):
    return [SegDataSample(metainfo=dict(img_path=f'{index}.jpg', **(dict(nonfinite_pixels=count) if count else {})))
            for index, count in enumerate(pixels)]


@pytest.fixture
def warnings_of():
    """Runs the hook on batches of samples; returns what it has logged."""
    def run(*batches):
        records, handler = [], logging.Handler(logging.WARNING)
        handler.emit = records.append
        logger = MMLogger.get_current_instance()
        logger.addHandler(handler)
        try:
            hook, runner = HOOKS.build(dict(type='NonFiniteHook')), SimpleNamespace()
            for _ in range(2):  # a second test starts from nothing
                hook.before_test_epoch(runner)
                for index, batch in enumerate(batches):
                    hook.after_test_iter(runner, index, None, batch)
                hook.after_test_epoch(runner, {})
        finally:
            logger.removeHandler(handler)
        texts = [record.getMessage() for record in records]
        assert texts[:len(texts) // 2] == texts[len(texts) // 2:]
        return texts[:len(texts) // 2]
    return run


def test_pixels_and_images_are_counted(warnings_of):
    text, = warnings_of(samples(0, 7), samples(0, 0, 11, 13), samples(0))
    assert text == ('31 pixels of 3 images have no class, because their scores are not finite (NaN or Inf), and count as '
                    'errors: 1.jpg, 2.jpg, 3.jpg')


def test_many_images_are_not_all_named(warnings_of):
    text, = warnings_of(samples(1, 1, 1, 1))
    assert text.startswith('4 pixels of 4 images') and text.endswith('0.jpg, 1.jpg, 2.jpg, …')


def test_without_such_pixels_there_is_no_warning(warnings_of):
    assert warnings_of(samples(0, 0)) == []


@pytest.mark.parametrize('main', [True, False])
def test_the_main_process_counts_those_of_all(warnings_of, monkeypatch, main):
    monkeypatch.setattr(undefined_pixels, 'all_gather_object', lambda own: [own, {'1.jpg': 7, '5.jpg': 3}])  # one image twice
    monkeypatch.setattr(undefined_pixels, 'is_main_process', lambda: main)
    texts = warnings_of(samples(0, 7))
    assert [text[:22] for text in texts] == ['10 pixels of 2 images '] * main


def test_every_config_has_the_hook():
    cfg = Config.fromfile(configs_dir() / 'gated' / 'gated_vit-b16_ade20k.py')
    assert dict(type='NonFiniteHook') in cfg.custom_hooks


@pytest.mark.parametrize('ignored, classes', [(255, 5), (255, 255), (65535, 256)])
def test_the_metric_counts_such_pixels_as_errors(ignored, classes):
    truth, guess = torch.randint(0, 5, (2, 11, 13))
    truth[0] = 255
    guess[0:3, 2:9] = ignored
    metric = IoUMetric(iou_metrics=['mIoU'])
    metric.dataset_meta = dict(classes=[str(index) for index in range(classes)])
    metric.process({}, [dict(gt_sem_seg=dict(data=truth[None]), pred_sem_seg=dict(data=guess[None]))])
    hits, predicted, labelled = torch.zeros(3, classes)
    for label, found in zip(truth.flatten().tolist(), guess.flatten().tolist()):
        if label != 255:
            labelled[label] += 1
            hits[label] += found == label
            if found != ignored:
                predicted[found] += 1
    scores = metric.compute_metrics(metric.results)
    union = predicted + labelled - hits
    assert scores['aAcc'] == pytest.approx(100 * (hits.sum() / labelled.sum()).item(), abs=0.00501)
    assert scores['mIoU'] == pytest.approx(100 * (hits / union).nanmean().item(), abs=0.00501)
