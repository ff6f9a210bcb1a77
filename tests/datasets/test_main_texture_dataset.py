import numpy as np
import pytest
import torch
from mmseg.registry import DATASETS
from PIL import Image

from ovseg.datasets.demo_scenes_dataset import DEMO_SCENES
from ovseg.datasets.main_texture_dataset import MainTextureDataset
from ovseg.demo.scenes import draw_scene
from ovseg.demo.textures import CLASSES


def plain_majority(labels):
    counts = {}
    for value in labels.ravel().tolist():
        counts[value] = counts.get(value, 0) + 1
    return max(counts, key=counts.get)


def test_drawn_scenes_are_labelled_by_what_covers_most():
    dataset = MainTextureDataset(length=5, size=61, seed=3)
    assert len(dataset) == 5
    seen = set()
    for index in range(5):
        scene = draw_scene(np.random.default_rng((3, index)), 61, 61)
        item = dataset[index]
        assert item['data_samples'].gt_label == plain_majority(scene.labels)
        assert item['inputs'].dtype == torch.uint8 and item['inputs'].shape == (3, 61, 61)
        np.testing.assert_array_equal(item['inputs'].numpy(), scene.image.transpose(2, 0, 1)[::-1])  # BGR
        seen.add(item['data_samples'].gt_label)
    assert len(seen) > 1


def test_shipped_scenes_are_labelled_by_what_covers_most():
    dataset = MainTextureDataset(size=61)
    assert len(dataset) == 60
    for index in (0, 7, 59):
        labels = np.array(Image.open(DEMO_SCENES / 'annotations' / f'{index:03d}.png'))
        picture = Image.open(DEMO_SCENES / 'images' / f'{index:03d}.jpg').resize((61, 61), Image.Resampling.BOX)
        item = dataset[index]
        assert item['data_samples'].gt_label == plain_majority(labels)
        assert item['inputs'].shape == (3, 61, 61)
        found = item['inputs'].numpy()[::-1].transpose(1, 2, 0).astype(int)
        assert np.abs(found - np.array(picture)).mean() < 4


def test_scenes_are_functions_of_seed_and_index():
    first, again, other = (MainTextureDataset(length=2, size=37, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first[1]['inputs'], again[1]['inputs'])
    assert not torch.equal(first[0]['inputs'], first[1]['inputs'])
    assert not torch.equal(first[0]['inputs'], other[0]['inputs'])


def test_a_shorter_data_set_is_the_beginning_of_a_longer_one():
    assert torch.equal(MainTextureDataset(length=2, size=37)[1]['inputs'], MainTextureDataset(length=9, size=37)[1]['inputs'])


@pytest.mark.parametrize('length', [0, 3])
def test_there_is_nothing_behind_the_end(length):
    dataset = MainTextureDataset(length=length, size=17)
    with pytest.raises(IndexError):
        dataset[len(dataset)]


def test_it_is_built_by_mmseg():
    dataset = DATASETS.build(dict(type='MainTextureDataset', length=3))
    assert len(dataset) == 3 and dataset[0]['inputs'].shape == (3, 224, 224)
    assert tuple(dataset.metainfo['classes']) == tuple(CLASSES)
