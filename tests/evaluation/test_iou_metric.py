import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.evaluation import IoUMetric
from mmseg.registry import METRICS
from mmseg.structures import SegDataSample

from ovseg.evaluation import DeviceIoUMetric

CLASSES = 5


def samples(count, device='cpu'):
    """Label maps of images of different sizes; 255 is ignored, 9 is no class, and class 4 is nowhere in the ground truth."""
    generator = np.random.default_rng(0)
    found = []
    for index in range(count):
        size = (11 + 2 * index, 13)
        truth, guess = generator.choice([0, 1, 2, 3, 9, 255], size), generator.choice([0, 1, 2, 3, 4, 255], size)
        fields = dict(gt_sem_seg=truth.astype(np.uint8), pred_sem_seg=guess.astype(np.int64))
        data = {name: PixelData(data=torch.from_numpy(labels)[None].to(device)) for name, labels in fields.items()}
        found.append(SegDataSample(metainfo=dict(img_path=f'{index}.png')))
        found[-1].set_data(data)
    return [sample.to_dict() for sample in found]


def score(metric, data):
    metric.dataset_meta = dict(classes=list('abcde'))
    for sample in data:
        metric.process({}, [sample])
    return metric.evaluate(len(data))


@pytest.mark.parametrize('options', [{}, dict(nan_to_num=0), dict(ignore_index=2),
                                     dict(iou_metrics=['mIoU', 'mDice', 'mFscore'])], ids=str)
def test_it_equals_that_of_mmseg(options):
    expected = score(IoUMetric(**options), samples(7))
    found = score(METRICS.build(dict(type='IoUMetric', **options)), samples(7))
    assert found.keys() == expected.keys() and len(expected) > 2
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=0.0101), name  # mmseg adds in float32, and both round to 0.01


def test_configs_get_it_by_the_name_of_that_of_mmseg():
    assert type(METRICS.build(dict(type='IoUMetric'))) is DeviceIoUMetric
    assert type(METRICS.build(dict(type='mmseg.IoUMetric'))) is DeviceIoUMetric


def test_areas_are_exact_beyond_the_integers_of_float32():
    odd, kept = 2 ** 24 + 1, []
    metric = DeviceIoUMetric()
    metric.results = [tuple(torch.tensor([areas, 1]) for areas in (odd, odd + 1, odd, odd + 1))] * 2
    metric.compute_metrics = lambda results: kept.extend(results) or {}
    metric.evaluate(2)
    assert [sum(areas).tolist() for areas in zip(*kept)] == [[2 * odd, 2], [2 * odd + 2, 2]] * 2


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_an_image_makes_the_host_wait_for_nothing():
    data = samples(3, 'cuda')
    expected = score(DeviceIoUMetric(), samples(3))
    metric = DeviceIoUMetric()
    metric.dataset_meta = dict(classes=list('abcde'))
    torch.cuda.set_sync_debug_mode('error')
    try:
        for sample in data:
            metric.process({}, [sample])
    finally:
        torch.cuda.set_sync_debug_mode('default')
    assert metric.results[0][0].is_cuda
    assert metric.evaluate(3) == expected
