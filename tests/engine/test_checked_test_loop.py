from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmseg.registry import LOOPS
from PIL import Image

from ovseg.engine import CheckedTestLoop

DEFAULT_RUNTIME = Path(__file__).parents[2] / 'configs' / '_base_' / 'default_runtime.py'
LOADER = dict(batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False))


@pytest.fixture(autouse=True)
def mmseg_scope():
    """Set the scope, as a config's ``default_scope`` does."""
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


@pytest.fixture
def runner():
    return MagicMock(build_dataloader=MagicMock(side_effect=Runner.build_dataloader))


@pytest.fixture
def dataset(tmp_path):
    """A data set of three images; a few of its tests take one away."""
    for name in 'abc':
        for folder, suffix, shape in (('images', 'jpg', (5, 7, 3)), ('labels', 'png', (5, 7))):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(np.zeros(shape, np.uint8)).save(tmp_path / folder / f'{name}.{suffix}')
    return dict(type='ADE20KDataset', data_root=str(tmp_path), data_prefix=dict(img_path='images', seg_map_path='labels'),
                pipeline=[dict(type='LoadImage'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')])


def test_our_configs_use_it(runner, dataset):
    cfg = Config.fromfile(DEFAULT_RUNTIME).test_cfg
    loop = LOOPS.build(cfg, default_args=dict(runner=runner, dataloader=dict(LOADER, dataset=dataset), evaluator=MagicMock()))
    assert isinstance(loop, CheckedTestLoop)


def test_complete_data_is_loaded(runner, dataset):
    loop = CheckedTestLoop(runner, dict(LOADER, dataset=dataset), evaluator=MagicMock())
    assert len(loop.dataloader.dataset) == len(list(loop.dataloader)) == 3


def test_nothing_is_built_where_a_file_is_missing(runner, dataset, tmp_path):
    (tmp_path / 'labels' / 'b.png').unlink()
    with pytest.raises(FileNotFoundError, match=r'1 of 6 images and label maps do not exist.*b\.png'):
        CheckedTestLoop(runner, dict(LOADER, dataset=dataset), evaluator=MagicMock())
    runner.build_dataloader.assert_not_called()


@pytest.mark.parametrize('dataset', [
    dict(type='DemoScenesDataset', data_prefix=dict(img_path='images', seg_map_path='annotations')),
    dict(type='MainTextureDataset', length=60)], ids=['with its files', 'drawn'])
def test_a_data_set_without_data_root_is_taken_as_it_is(runner, dataset):
    loop = CheckedTestLoop(runner, dict(LOADER, dataset=dataset), evaluator=MagicMock())
    assert len(loop.dataloader.dataset) == 60


def test_a_loader_is_taken_as_it_is(runner, dataset, tmp_path):
    loader = Runner.build_dataloader(dict(LOADER, dataset=dataset))
    (tmp_path / 'labels' / 'b.png').unlink()
    loop = CheckedTestLoop(MagicMock(), loader, evaluator=MagicMock())
    assert loop.dataloader is loader


def spoil(folder):
    """Give the second label map a value behind the classes."""
    Image.fromarray(np.full((5, 7), 151, np.uint8)).save(folder / 'labels' / 'b.png')


def test_a_wrong_label_map_is_refused_before_the_first_image(runner, dataset, tmp_path):
    spoil(tmp_path)
    with pytest.raises(ValueError, match=r'ADE20KDataset: 1 of 3 label files have values that are no class.*labels/b\.png'):
        CheckedTestLoop(runner, dict(LOADER, dataset=dataset), evaluator=MagicMock())


def test_a_label_map_that_is_wrong_later_is_refused_when_it_is_read(runner, dataset, tmp_path):
    loop = CheckedTestLoop(runner, dict(LOADER, dataset=dataset), evaluator=MagicMock())
    spoil(tmp_path)
    with pytest.raises(ValueError, match=r'label map .*labels/b\.png has values that are no class: 151; classes are 1 to '):
        list(loop.dataloader)


def test_the_label_that_the_metric_leaves_out_is_no_error(runner, dataset, tmp_path):
    for name in 'abc':
        Image.fromarray(np.full((5, 7), 151, np.uint8)).save(tmp_path / 'labels' / f'{name}.png')
    evaluator = MagicMock(metrics=[MagicMock(ignore_index=150)])
    assert len(list(CheckedTestLoop(runner, dict(LOADER, dataset=dataset), evaluator=evaluator).dataloader)) == 3
