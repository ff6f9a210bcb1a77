import numpy as np
import pytest
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS
from PIL import Image

from ovseg.datasets import ADE20K847Dataset
from ovseg.vocabulary import read_class_list


def test_its_classes_are_those_of_the_bundled_list():
    assert ADE20K847Dataset.METAINFO['classes'] == [names[0] for names in read_class_list('ade20k_847')]
    assert len(ADE20K847Dataset.METAINFO['classes']) == 847


def test_every_class_has_its_own_colour():
    palette = ADE20K847Dataset.METAINFO['palette']
    assert len(palette) == len({tuple(colour) for colour in palette}) == 847


@pytest.fixture
def dataset(tmp_path):
    labels = np.arange(847 - 77, 847, dtype=np.uint16).reshape(7, 11)
    labels[3, :5] = 0, 255, 256, 257, 65535
    for name, picture in (('images/a.jpg', np.zeros((7, 11, 3), np.uint8)), ('labels/a.tif', labels)):
        (tmp_path / name).parent.mkdir()
        Image.fromarray(picture).save(tmp_path / name)
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield DATASETS.build(dict(
            type='ADE20K847Dataset', data_root=str(tmp_path), data_prefix=dict(img_path='images', seg_map_path='labels'),
            pipeline=[dict(type='LoadImage'), dict(type='LoadWideAnnotations'), dict(type='PackSegInputs')]))


def test_labels_are_those_of_the_file(dataset):
    labels = dataset[0]['data_samples'].gt_sem_seg.data[0].numpy()
    assert labels[3, :5].tolist() == [0, 255, 256, 257, 65535]
    assert labels[0].tolist() == list(range(847 - 77, 847 - 66))
    assert labels[6, -1] == 847 - 1


def test_pixels_to_ignore_are_65535(dataset):
    assert dataset.ignore_index == 65535
    assert dataset.metainfo['reduce_zero_label'] is False
