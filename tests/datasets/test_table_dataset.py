import numpy as np
import pytest
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS
from PIL import Image

import ovseg.sets
from ovseg.datasets import TableDataset
from ovseg.sets import Row

PIPELINE = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]


@pytest.fixture
def row(monkeypatch, tmp_path):
    """A row with its files: one image whose labels are 0, 1, 2 and 255."""
    row = Row('meadow', 'Meadow', 'meadow', 'photos', 'masks', 'https://example.org', 'make it', 1, img_suffix='.jpg',
              seg_map_suffix='_mask.png', classes='context59', palette=tuple((index, 7, 9) for index in range(59)))
    monkeypatch.setitem(ovseg.sets.ROWS, 'meadow', row)
    monkeypatch.setenv('DATA_ROOT', str(tmp_path))
    for folder in ('photos', 'masks'):
        (tmp_path / 'meadow' / folder).mkdir(parents=True)
    Image.new('RGB', (5, 3), (50, 90, 10)).save(tmp_path / 'meadow' / 'photos' / 'a.jpg')
    labels = np.array([[0, 1, 2, 255, 0]] * 3, np.uint8)
    Image.fromarray(labels).save(tmp_path / 'meadow' / 'masks' / 'a_mask.png')
    return row


def labels_of(**settings):
    with DefaultScope.overwrite_default_scope('mmseg'):
        dataset = DATASETS.build(dict(type='TableDataset', name='meadow', pipeline=PIPELINE, **settings))
        return dataset, dataset[0]['data_samples'].gt_sem_seg.data[0].tolist()[0]


def test_a_name_is_enough(row, tmp_path):
    dataset, labels = labels_of()
    assert dataset.metainfo['classes'][:2] == ['aeroplane', 'bag'] and dataset.metainfo['palette'][3] == [3, 7, 9]
    assert labels == [0, 1, 2, 255, 0] and dataset.data_root == str(tmp_path / 'meadow')


def test_what_is_given_wins(row):
    assert labels_of(reduce_zero_label=True)[1] == [255, 0, 1, 255, 255]


def test_a_choice_of_its_classes(row):
    dataset, labels = labels_of(metainfo=dict(classes=['bed', 'aeroplane']))
    assert labels == [1, 255, 0, 255, 1] and dataset.metainfo['palette'] == [[2, 7, 9], [0, 7, 9]]
    with pytest.raises(ValueError, match='subset of classes'):
        TableDataset('meadow', metainfo=dict(classes=['bed', 'unicorn']), lazy_init=True)


def test_without_colours_those_of_voc(row, monkeypatch):
    monkeypatch.setitem(ovseg.sets.ROWS, 'meadow', Row('meadow', *'abcdef', classes='voc20'))
    assert TableDataset('meadow', lazy_init=True).metainfo['palette'][:2] == [[0, 0, 0], [128, 0, 0]]


def test_a_set_with_a_class_of_its_own_is_refused():
    with pytest.raises(ValueError, match="name='ade20k' has a data set class of its own: type='ADE20KDataset'"):
        TableDataset('ade20k')
