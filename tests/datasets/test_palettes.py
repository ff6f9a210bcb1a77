import pytest
from mmseg.registry import DATASETS

from ovseg.datasets.palettes import voc_colours


def test_voc_has_its_own_colours():
    assert voc_colours(0, 21) == DATASETS.get('PascalVOCDataset').METAINFO['palette']


def test_the_label_of_pixels_to_ignore_is_voc_cream():
    assert voc_colours(255, 256) == [[224, 224, 192]]


@pytest.mark.parametrize('start', [0, 1, 7])
def test_start_says_where_to_begin(start):
    assert voc_colours(start, 31) == voc_colours(0, 31)[start:]


def test_every_colour_is_another_one():
    colours = voc_colours(0, 1009)
    assert len({tuple(colour) for colour in colours}) == 1009
    assert all(len(colour) == 3 and 0 <= min(colour) <= max(colour) <= 255 for colour in colours)
