import numpy as np
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS
from PIL import Image

from ovseg.datasets import COCOObjectDataset
from ovseg.vocabulary import read_class_list


def test_its_classes_are_the_background_and_the_things_of_coco_stuff():
    assert COCOObjectDataset.METAINFO['classes'] == ['background', *DATASETS.get('COCOStuffDataset').METAINFO['classes'][:80]]


def test_its_classes_are_those_of_the_bundled_list():
    assert COCOObjectDataset.METAINFO['classes'] == [names[0] for names in read_class_list('coco_object')]


def test_every_class_has_its_own_colour_and_the_background_is_black():
    palette = COCOObjectDataset.METAINFO['palette']
    assert len(palette) == len({tuple(colour) for colour in palette}) == 81
    assert palette[0] == [0, 0, 0]


def test_it_takes_the_label_maps_of_things_from_among_others(tmp_path):
    labels = np.arange(77, dtype=np.uint8).reshape(7, 11)
    for name, picture in (('images/7.jpg', np.zeros((7, 11, 3), np.uint8)), ('labels/7.png', labels + 1),
                          ('labels/7_labelTrainIds.png', labels + 2), ('labels/7_instanceTrainIds.png', labels)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(picture).save(tmp_path / name)
    with DefaultScope.overwrite_default_scope('mmseg'):
        dataset = DATASETS.build(dict(
            type='COCOObjectDataset', data_root=str(tmp_path), data_prefix=dict(img_path='images', seg_map_path='labels'),
            pipeline=[dict(type='LoadImage'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]))
    assert len(dataset) == 1
    np.testing.assert_array_equal(dataset[0]['data_samples'].gt_sem_seg.data[0].numpy(), labels)
