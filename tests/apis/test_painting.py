import numpy as np

from ovseg.apis.painting import class_colours, class_shares
from ovseg.visualization.palette import distinct_colours


def test_colours():
    assert class_colours(5, background=False) == distinct_colours(5)
    assert class_colours(5, background=True) == [[0, 0, 0], *distinct_colours(4)]


def test_shares_are_sorted_and_leave_out_absent_classes():
    shares = class_shares(np.array([3, 0, 11, 3]), 23, ['a', 'b', 'c', 'd'])
    assert list(shares.items()) == [('c', 11 / 23), ('a', 3 / 23), ('d', 3 / 23)]
    assert class_shares(np.zeros(2, int), 0, ['a', 'b']) == {}
