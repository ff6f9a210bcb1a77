import numpy as np
import pytest
from mmengine.logging import MMLogger
from mmseg.evaluation import IoUMetric

from ovseg.ablation.axes import Axes
from ovseg.ablation.results import read_results
from ovseg.ablation.settings import all_settings

AXES = Axes(['apply_ctd'], {'model.logit_scale': [30, 50]})


def metrics_of(areas, **kwargs):
    MMLogger.get_instance('test_results')
    metric = IoUMetric(**kwargs)
    metric.dataset_meta = dict(classes=['a', 'b', 'c', 'd', 'e'])
    return metric.compute_metrics(areas)


@pytest.mark.parametrize('nan_to_num', [None, 0, 1])
def test_figures_are_those_of_the_metric(nan_to_num, finish, demo, tmp_path):
    settings = all_settings([demo], AXES, {'test_evaluator.nan_to_num': nan_to_num})
    held = finish(settings)
    rows, = read_results(settings, tmp_path)
    for result, areas in zip(rows, held):
        assert result.metrics == pytest.approx(metrics_of(areas, nan_to_num=nan_to_num))
        assert np.nanmean(result.iou) == pytest.approx(result.metrics['mIoU'], abs=0.0051)
        assert result.delta == pytest.approx(np.nanmean(result.iou) - np.nanmean(rows[0].iou))
    assert np.isnan(rows[0].iou[4]) == (nan_to_num is None) and result.images == 7
    assert result.words['class_list'] == 'custom' and result.words['templates'] == 'plain'


def test_intervals_lie_around_the_differences(finish, demo, tmp_path):
    settings = all_settings([demo], AXES, {})
    finish(settings)
    (baseline, *others), = read_results(settings, tmp_path)
    assert (baseline.delta, baseline.low, baseline.high) == (0, 0, 0)
    assert all(0 < result.low < result.delta < result.high for result in others)


def test_only_finished_rows_with_their_baseline_are_read(finish, demo, tmp_path):
    settings = all_settings([demo], AXES, {})
    finish(settings[1:3])
    assert read_results(settings, tmp_path) == []
    finish(settings[:1])
    rows, = read_results(settings, tmp_path)
    assert [result.setting.name for result in rows] == ['baseline', '+ apply_ctd', 'logit_scale=30']


@pytest.mark.parametrize('limit, text', [(7, 'first 7 images only'), (8, ''), (None, ''), (-7, '7 chosen images only'),
                                         ([1, 2, 3, 5, 8, 13, 21], '7 chosen images only')])
def test_a_part_of_the_data_set_is_called_one(limit, text, finish, demo, tmp_path):
    settings = all_settings([demo], AXES, {} if limit is None else {'test_dataloader.dataset.indices': limit})
    finish(settings[:1])
    assert read_results(settings, tmp_path)[0][0].limited == text
