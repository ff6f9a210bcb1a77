"""The data set parts of configs, on miniatures in the benchmarks' true layouts."""
import runpy
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS

import ovseg  # noqa: F401  registers data sets and transforms
from ovseg.sets import FAMILIES

TESTS = Path(__file__).parents[1]
DATASET_PARTS = TESTS.parent / 'configs' / '_base_' / 'datasets'
MINIATURES = runpy.run_path(str(TESTS / 'miniatures.py'))
LAYOUTS = MINIATURES['LAYOUTS']
CLASSES = [0, 1, 5, 7, 18]


@pytest.fixture(scope='module')
def data_root(tmp_path_factory):
    return tmp_path_factory.mktemp('data')


@pytest.fixture
def part(data_root, monkeypatch):
    """Reads a data set part; its miniature has been drawn."""
    def read(benchmark):
        maps = MINIATURES['draw'](benchmark, data_root, CLASSES)
        monkeypatch.setenv('DATA_ROOT', str(data_root))
        return Config.fromfile(DATASET_PARTS / f'{benchmark}.py'), maps
    return read


def build(cfg, **changes):
    with DefaultScope.overwrite_default_scope('mmseg'):
        return DATASETS.build({**cfg.test_dataloader.dataset, **changes})


def labels_of(sample):
    return sample.gt_sem_seg.data[0].numpy()


def test_every_benchmark_has_its_miniature():
    parts = {path.stem for path in DATASET_PARTS.glob('*.py') if not path.stem.endswith('_448')}
    others = {row.name for family in ('remote sensing', 'MESS') for row in FAMILIES[family]}  # in tests/sets
    assert parts - {'demo_scenes'} == set(LAYOUTS) | others


@pytest.mark.parametrize('benchmark', LAYOUTS)
def test_images_are_resized_to_their_short_side_and_the_ground_truth_is_not(benchmark, part):
    cfg, maps = part(benchmark)
    layout, dataset = LAYOUTS[benchmark], build(cfg)
    assert len(dataset) == len(maps)
    for index, name in enumerate(sorted(maps)):
        item = dataset[index]
        sample = item['data_samples']
        assert sample.img_path.endswith(layout.images.format(name))
        assert min(sample.img_shape) == min(item['inputs'].shape[1:]) == (560 if benchmark == 'cityscapes' else 336)
        assert sample.ori_shape == maps[name].shape
        ignored = np.isin(maps[name], layout.ignored)
        expected = np.where(ignored, cfg.test_evaluator.get('ignore_index', 255), maps[name].astype(int) - layout.first)
        np.testing.assert_array_equal(labels_of(sample), expected)


@pytest.mark.parametrize('benchmark', LAYOUTS)
def test_test_time_augmentation_mirrors_images_and_no_ground_truth(benchmark, part):
    cfg, _ = part(benchmark)
    plain, augmented = build(cfg)[1], build(cfg, pipeline=cfg.tta_pipeline)[1]
    images, samples = augmented['inputs'], augmented['data_samples']
    assert [bool(sample.flip) for sample in samples] == [False, True]
    np.testing.assert_array_equal(images[0], plain['inputs'])
    np.testing.assert_array_equal(images[1], plain['inputs'].flip(-1))
    for sample in samples:
        np.testing.assert_array_equal(labels_of(sample), labels_of(plain['data_samples']))


@pytest.mark.parametrize('benchmark', LAYOUTS)
def test_every_image_is_tested_once_and_in_order(benchmark, part):
    cfg, _ = part(benchmark)
    assert cfg.test_dataloader.sampler == dict(type='DefaultSampler', shuffle=False)
    assert cfg.test_dataloader.batch_size == 1
    assert cfg.test_evaluator.iou_metrics == ['mIoU']


@pytest.mark.parametrize('benchmark', LAYOUTS)
def test_data_lies_in_data_unless_said_otherwise(benchmark, monkeypatch):
    monkeypatch.delenv('DATA_ROOT', raising=False)
    data_root = Config.fromfile(DATASET_PARTS / f'{benchmark}.py').test_dataloader.dataset.data_root
    assert data_root.split('/')[0] == 'data'
    assert LAYOUTS[benchmark].images.startswith(data_root[len('data/'):] + '/')
    monkeypatch.setenv('DATA_ROOT', '/some where/else')
    elsewhere = Config.fromfile(DATASET_PARTS / f'{benchmark}.py').test_dataloader.dataset.data_root
    assert elsewhere == data_root.replace('data', '/some where/else', 1)
