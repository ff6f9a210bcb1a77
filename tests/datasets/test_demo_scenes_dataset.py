import numpy as np
import pytest
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS
from PIL import Image

from ovseg.datasets import DemoScenesDataset
from ovseg.datasets.demo_scenes_dataset import DEMO_SCENES
from ovseg.vocabulary import read_class_list

PREFIX = dict(img_path='images', seg_map_path='annotations')
PIPELINE = [dict(type='LoadImage'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]


@pytest.fixture(scope='module', autouse=True)
def mmseg_scope():
    """Set the scope, as a config's ``default_scope`` does."""
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


@pytest.fixture(scope='module')
def dataset(mmseg_scope):
    return DATASETS.build(dict(type='DemoScenesDataset', data_prefix=PREFIX, pipeline=PIPELINE))


def test_sixty_scenes_in_order(dataset):
    names = [dataset.get_data_info(index)['img_path'].rsplit('/', 1)[-1] for index in range(len(dataset))]
    assert names == [f'{index:03d}.jpg' for index in range(60)]


def test_classes_are_those_of_the_bundled_list(dataset):
    assert [[name] for name in dataset.metainfo['classes']] == read_class_list('demo_scenes')


def test_every_class_has_its_own_colour():
    palette = DemoScenesDataset.METAINFO['palette']
    assert len(palette) == len({tuple(colour) for colour in palette}) == 16
    assert all(len(colour) == 3 and min(colour) >= 0 and max(colour) <= 255 for colour in palette)


def test_items_are_packed_as_mmseg_packs_them(dataset):
    item, sample = dataset[7]['inputs'], dataset[7]['data_samples']
    picture = np.array(Image.open(DEMO_SCENES / 'images' / '007.jpg'))
    labels = np.array(Image.open(DEMO_SCENES / 'annotations' / '007.png'))
    assert item.shape == (3, *labels.shape)
    assert np.abs(item.numpy()[::-1].transpose(1, 2, 0).astype(int) - picture).mean() < 3  # BGR; JPEG decoders may differ
    np.testing.assert_array_equal(sample.gt_sem_seg.data[0].numpy(), labels)
    assert sample.ori_shape == labels.shape


def test_another_data_root(tmp_path):
    for folder, suffix, shape in (('images', 'jpg', (31, 37, 3)), ('annotations', 'png', (31, 37))):
        (tmp_path / folder).mkdir()
        Image.fromarray(np.zeros(shape, np.uint8)).save(tmp_path / folder / f'scene.{suffix}')
    dataset = DemoScenesDataset(data_root=str(tmp_path), data_prefix=PREFIX, pipeline=PIPELINE)
    assert len(dataset) == 1
    assert dataset[0]['data_samples'].gt_sem_seg.data.shape == (1, 31, 37)
