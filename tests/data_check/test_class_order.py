import pytest

from ovseg.data_check.class_order import Misplaced, misplaced, order_difference

CLASSES = ['grass', 'water', 'potted plant']


@pytest.mark.parametrize('names', [
    [['grass'], ['water'], ['potted plant']],
    [['lawn'], ['river'], ['flower']],  # other names altogether
    [['lawn', 'grass'], ['Water'], ['pottedplant']],
    [['grass', 'water'], ['water', 'river'], ['potted plant']],  # a bundled list may repeat a name
    [['grass', 'potted plant'], ['water'], ['flower']]])  # a synonym, beside the class's own name
def test_one_order(names):
    assert misplaced(CLASSES, names) == [] and order_difference(CLASSES, names) == ''


def test_both_positions_are_named():
    names = [['water'], ['grass'], ['potted plant']]
    assert misplaced(CLASSES, names) == [Misplaced('water', 1, 0), Misplaced('grass', 0, 1)]
    assert order_difference(CLASSES, names) == ("'water' is class 1 of the data set and class 0 of vocabulary.names; "
                                                "'grass' is class 0 of the data set and class 1 of vocabulary.names")


def test_a_synonym_in_another_place():
    assert misplaced(CLASSES, [['lawn'], ['flower', 'PottedPlant'], ['river', 'water']]) == [
        Misplaced('potted plant', 2, 1), Misplaced('water', 1, 2)]


def test_a_class_of_the_name_of_another_does_not_have_its_own_as_a_synonym():
    assert misplaced(CLASSES, [['water', 'grass'], ['river'], ['flower']]) == [Misplaced('water', 1, 0)]


def test_a_list_that_is_shorter():
    assert misplaced(CLASSES, [['grass'], ['potted plant']]) == [Misplaced('potted plant', 2, 1)]


def test_a_list_that_is_shifted_by_one_and_longer():
    shifted = [['background'], ['grass'], ['water'], ['potted plant']]
    assert [tuple(one) for one in misplaced(CLASSES, shifted)] == [('grass', 0, 1), ('water', 1, 2), ('potted plant', 2, 3)]


def test_a_long_difference_is_cut():
    names = [f'class {chr(97 + index)}' for index in range(5)]
    assert order_difference(names, [[name] for name in names[::-1]]).endswith('; and 1 more')
