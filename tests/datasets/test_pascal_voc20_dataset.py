import numpy as np
import pytest
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS
from PIL import Image

from ovseg.datasets import PascalVOC20Dataset
from ovseg.vocabulary import read_class_list

VOC21 = DATASETS.get('PascalVOCDataset').METAINFO


def test_its_classes_are_those_of_voc_without_the_background():
    classes = PascalVOC20Dataset.METAINFO['classes']
    assert [name.replace(' ', '') for name in classes] == list(VOC21['classes'][1:])
    assert classes == [names[0] for names in read_class_list('voc20')]


def test_its_colours_are_those_of_voc():
    assert PascalVOC20Dataset.METAINFO['palette'] == VOC21['palette'][1:]


@pytest.fixture
def dataset(tmp_path):
    """One image whose label map counts up from 0, with 255 at the end."""
    labels = np.minimum(np.arange(35, dtype=np.uint8), 20).reshape(5, 7)
    labels[4] = 255
    for folder, name, picture in (('images', 'a.jpg', np.zeros((5, 7, 3), np.uint8)), ('labels', 'a.png', labels),
                                  ('images', 'b.jpg', np.zeros((5, 7, 3), np.uint8))):
        (tmp_path / folder).mkdir(exist_ok=True)
        Image.fromarray(picture).save(tmp_path / folder / name)
    (tmp_path / 'val.txt').write_text('a\n')
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield DATASETS.build(dict(
            type='PascalVOC20Dataset', data_root=str(tmp_path), ann_file='val.txt',
            data_prefix=dict(img_path='images', seg_map_path='labels'),
            pipeline=[dict(type='LoadImage'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]))


def test_labels_begin_with_aeroplane_and_the_background_is_ignored(dataset):
    assert len(dataset) == 1
    labels = dataset[0]['data_samples'].gt_sem_seg.data[0].numpy()
    assert labels[0].tolist() == [255, 0, 1, 2, 3, 4, 5]
    assert labels[2].tolist() == [13, 14, 15, 16, 17, 18, 19]
    assert set(labels[4].tolist()) == {255}


def test_the_metric_and_label_maps_are_told(dataset):
    assert dataset.metainfo['reduce_zero_label'] is True
