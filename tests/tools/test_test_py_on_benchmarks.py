"""Every benchmark in miniature through tools/test.py: what is counted and printed equals a plain loop over files."""
import re
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.evaluation import IoUMetric
from mmseg.registry import DATASETS, MODELS
from PIL import Image

from ovseg.vocabulary import read_class_list

TESTS = Path(__file__).parents[1]
BASE = TESTS.parent / 'configs' / '_base_'
MINIATURES = runpy.run_path(str(TESTS / 'miniatures.py'))
LAYOUTS = MINIATURES['LAYOUTS']
CLASS_LISTS = {**{name: name for name in LAYOUTS}, 'coco_stuff164k': 'coco_stuff', 'coco_stuff10k': 'coco_stuff'}
WINDOWS = dict(crop=0)
IN_PROCESS = ['test_dataloader.num_workers=0']

pytestmark = pytest.mark.usefixtures('one_thread')


@pytest.fixture(autouse=True)
def unformatted_config(monkeypatch):
    """A Runner formats its config five times, which takes longer than all the rest."""
    for module in ('mmengine.config.config', 'yapf.yapflib.yapf_api'):  # onedl-mmengine imports it where it formats
        monkeypatch.setattr(f'{module}.FormatCode', lambda text, **style: (text, True), raising=False)


@pytest.fixture(scope='module')
def segmentor():
    cfg = Config.fromfile(BASE / 'models' / 'tiny-clip.py')
    with DefaultScope.overwrite_default_scope('mmseg'):
        return MODELS.build(dict(cfg.model, vocabulary=dict(names='voc21', templates='plain'), windows=WINDOWS))


@pytest.fixture
def classes(segmentor):
    """Classes for a miniature's labels: some that the model finds in its images, so that there are hits, and some others."""
    def choose(class_list):
        segmentor.set_classes(class_list)
        found = set()
        for index in range(len(MINIATURES['SIZES'])):
            image = torch.from_numpy(MINIATURES['picture'](index)[..., ::-1].transpose(2, 0, 1).copy())
            inputs = segmentor.data_preprocessor(dict(inputs=[image]))['inputs']
            found |= set(segmentor.predict(inputs)[0].pred_sem_seg.data.unique().tolist())
        count = segmentor.out_channels
        others = {0, 1, count // 2, count - 2, count - 1, *(index for index in (254, 255, 256) if index < count)}
        return sorted(found | others)
    return choose


def write_config(folder, benchmark):
    parts = [str(BASE / part) for part in ('models/tiny-clip.py', f'datasets/{benchmark}.py', 'default_runtime.py')]
    config = folder / f'{benchmark}.py'
    vocabulary = dict(names=CLASS_LISTS[benchmark], templates='plain')
    config.write_text(f'_base_ = {parts}\nmodel = {dict(vocabulary=vocabulary, windows=WINDOWS)}\n')
    return config


@pytest.fixture
def counted(monkeypatch):
    """The pixel counts from which ``IoUMetric`` gets its scores: hits, union, predicted, labelled, per class."""
    totals = []
    original = IoUMetric.total_area_to_metrics

    def total_area_to_metrics(*areas_and_more):
        totals.append([area.numpy() for area in areas_and_more[:4]])
        return original(*areas_and_more)

    monkeypatch.setattr(IoUMetric, 'total_area_to_metrics', staticmethod(total_area_to_metrics))
    return totals


def confusion(labels, predictions, layout, count):
    """``[label, prediction]``, counted pixel by pixel from the values that stand in the files."""
    matrix = np.zeros((count, count), int)
    for name, label_map in labels.items():
        for label, prediction in zip(label_map.ravel().tolist(), predictions[name].ravel().tolist()):
            if label not in layout.ignored:
                matrix[label - layout.first, prediction - layout.first] += 1
    return matrix


def table(matrix):
    """IoU and accuracy of each class in percent, NaN where there is nothing to divide by."""
    hits, labelled, predicted = np.diag(matrix), matrix.sum(1), matrix.sum(0)
    with np.errstate(invalid='ignore', divide='ignore'):
        return 100 * hits / (labelled + predicted - hits), 100 * hits / labelled


def data_set_classes(benchmark):
    return DATASETS.get(Config.fromfile(BASE / 'datasets' / f'{benchmark}.py').test_dataloader.dataset.type).METAINFO['classes']


@pytest.mark.parametrize('benchmark', LAYOUTS)
def test_the_scores_are_those_of_a_plain_loop(benchmark, classes, counted, in_process, tmp_path, monkeypatch):
    layout, names = LAYOUTS[benchmark], read_class_list(CLASS_LISTS[benchmark])
    chosen = classes(CLASS_LISTS[benchmark])
    monkeypatch.setenv('DATA_ROOT', str(tmp_path / 'data'))
    labels = MINIATURES['draw'](benchmark, tmp_path / 'data', chosen)

    loader = ['test_dataloader.num_workers=2'] if benchmark == 'cityscapes' else IN_PROCESS  # for time's sake
    config = write_config(tmp_path, benchmark)
    output = in_process('test.py', config, '--work-dir', tmp_path / 'work', '--out', tmp_path / 'out',
                        '--cfg-options', 'test_dataloader.dataset.pipeline.1.scale=(256,64)', *loader)

    files = {path.stem.replace('_leftImg8bit', ''): path for path in (tmp_path / 'out').rglob('*.png')}
    assert sorted(files) == sorted(name.split('/')[-1] for name in layout.names)
    matrix = confusion(labels, {name: np.array(Image.open(files[name.split('/')[-1]])) for name in labels}, layout, len(names))
    hits, union, predicted, labelled = counted[0]
    np.testing.assert_array_equal(hits, np.diag(matrix))
    np.testing.assert_array_equal(labelled, matrix.sum(1))
    np.testing.assert_array_equal(predicted, matrix.sum(0))
    np.testing.assert_array_equal(union, matrix.sum(0) + matrix.sum(1) - np.diag(matrix))
    assert np.count_nonzero(labelled) == len(chosen) and np.count_nonzero(hits) > 1  # else nothing is shown
    assert len(names) < 256 or hits[256:].any()

    iou, accuracy = table(matrix)
    rows = re.findall(r'^\| +(.*?) +\| +([\d.]+|nan) +\| +([\d.]+|nan) +\|$', output, re.MULTILINE)
    assert [name.casefold() for name, _, _ in rows] == [name.casefold().strip() for name in data_set_classes(benchmark)]
    np.testing.assert_allclose([float(row[1]) for row in rows], iou, atol=0.0051)
    np.testing.assert_allclose([float(row[2]) for row in rows], accuracy, atol=0.0051)
    means = dict(aAcc=100 * hits.sum() / labelled.sum(), mIoU=np.nanmean(iou), mAcc=np.nanmean(accuracy))
    for metric, value in means.items():
        printed, = re.findall(rf' {metric}: +([\d.]+)', output)
        assert float(printed) == pytest.approx(value, abs=0.0051)


def test_missing_data_ends_in_what_to_do(in_process, tmp_path, monkeypatch):
    monkeypatch.setenv('DATA_ROOT', str(tmp_path / 'data'))
    MINIATURES['draw']('ade20k', tmp_path / 'data', [0, 1])
    with pytest.raises(SystemExit, match=rf'{tmp_path}/elsewhere/ does not exist .*DATA_ROOT .*docs/datasets\.md'):
        in_process('test.py', write_config(tmp_path, 'ade20k'), '--work-dir', tmp_path / 'work',
                   '--cfg-options', 'model.pretrained=None', f'test_dataloader.dataset.data_root={tmp_path}/elsewhere')
