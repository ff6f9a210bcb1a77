import numpy as np
from PIL import Image

from ovseg.apis.painting import class_colours, class_shares, write_label_map
from ovseg.visualization.palette import distinct_colours


def test_colours():
    assert class_colours(5, background=False) == distinct_colours(5)
    assert class_colours(5, background=True) == [[0, 0, 0], *distinct_colours(4)]


def test_shares_are_sorted_and_leave_out_absent_classes():
    shares = class_shares(np.array([3, 0, 11, 3]), 23, ['a', 'b', 'c', 'd'])
    assert list(shares.items()) == [('c', 11 / 23), ('a', 3 / 23), ('d', 3 / 23)]
    assert class_shares(np.zeros(2, int), 0, ['a', 'b']) == {}


def test_a_label_map_has_the_colours_of_its_classes(tmp_path):
    labels = np.array([[0, 1, 255], [1, 2, 0]], np.uint8)
    write_label_map(labels, [[1, 2, 3], [4, 5, 6]], tmp_path / 'a.png')
    with Image.open(tmp_path / 'a.png') as image:
        np.testing.assert_array_equal(np.array(image), labels)
        assert image.getpalette() == [1, 2, 3, 4, 5, 6, *[255] * (254 * 3)]


def test_a_label_map_of_16_bits(tmp_path):
    labels = np.arange(299, -1, -1, dtype=np.uint16).reshape(15, 20)
    write_label_map(labels, [[0, 0, 0]] * 300, tmp_path / 'a.png')
    with Image.open(tmp_path / 'a.png') as image:
        np.testing.assert_array_equal(np.array(image), labels)
