import numpy as np
import pytest

from ovseg.ablation.results import Result
from ovseg.ablation.settings import Setting
from ovseg.ablation.spread import spread_lines, spread_note, spreads

NAN = float('nan')


def result(name, iou, options=None, points=None):
    setting = Setting('demo', name, 'x.py', options or {}, points or {})
    iou = np.array(iou, float)
    return Result(setting, 7, {}, iou, iou, 0, 0, 0, {}, ['sky', 'sand', 'water'], NAN)


def words(name, iou, beside='', **options):
    return result(name, iou, {'model.vocabulary.names': name, **options}, {'vocabulary': (name, beside)})


def test_rows_that_differ_in_one_axis_of_words_are_a_group():
    ctd = {'model.apply_ctd': True}
    rows = [result('baseline', [1, 2, 3], {'model.name_path': 'x'}), result('+ apply_ctd', [1, 2, 3], ctd),
            words('plain', [1, 2, 3]), words('ctd, plain', [1, 2, 3], '+ apply_ctd', **ctd),
            result('templates', [1, 2, 3], {'model.vocabulary.templates': 'plain', 'model.name_path': 'x'},
                   {'templates': ('plain', '')})]
    assert [(spread.axis, spread.beside, [row.setting.name for row in spread.rows]) for spread in spreads(rows)] == [
        ('vocabulary', '', ['baseline', 'plain']), ('vocabulary', '+ apply_ctd', ['+ apply_ctd', 'ctd, plain']),
        ('templates', '', ['baseline', 'templates'])]
    assert spreads(rows[:2]) == []


def test_figures_of_a_group():
    spread, = spreads([result('baseline', [10, 50, NAN]), words('plain', [40, 44, NAN]), words('lower', [13, 47, 3])])
    assert spread.low.tolist() == [10, 44, 3] and spread.high.tolist() == [40, 50, 3] and spread.order == [0, 1, 2]
    scores = [30, 42, 21]
    deviation = (sum((score - 31) ** 2 for score in scores) / 3) ** 0.5
    assert spread_note(spread) == (
        f'vocabulary, 3 rows: mIoU from 21.00 (lower) to 42.00 (plain), spread 21.00, standard deviation {deviation:.2f}; '
        'classes whose IoU differs most: sky 30.0, sand 6.0, water 0.0.')
    assert spread_lines(spread)[0] == ['demo', 'vocabulary', '', 'sky', '10.00', 'baseline', '40.00', 'plain', '30.00']


def test_a_class_without_iou_is_left_out():
    spread, = spreads([result('baseline', [1, NAN, 3]), words('plain', [2, NAN, 7])])
    assert spread.order == [2, 0] and np.isnan(spread.low[1])


@pytest.mark.parametrize('rows', [[], [result('baseline', [1, 2, 3])]])
def test_no_group_without_rows(rows):
    assert spreads(rows) == []
