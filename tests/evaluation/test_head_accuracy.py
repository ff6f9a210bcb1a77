import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.registry import DefaultScope
from mmengine.structures import BaseDataElement

from ovseg.evaluation.head_accuracy import HeadAccuracy


def sample(label, **scores):
    element = BaseDataElement(gt_label=label)
    element.set_data(dict(pred_scores={name: torch.tensor(values) for name, values in scores.items()}))
    return element


RIGHT, WRONG = [-3.0, 0.5, -1.0], [0.7, 0.5, -1.0]  # of a sample of class 1


def test_top1_of_every_head_over_all_batches():
    with DefaultScope.overwrite_default_scope('mmseg'):
        evaluator = Evaluator(dict(type='HeadAccuracy'))
    assert isinstance(evaluator.metrics[0], HeadAccuracy)
    evaluator.process([sample(1, n1=RIGHT, n4=WRONG), sample(1, n1=WRONG, n4=WRONG)])
    evaluator.process([sample(1, n1=RIGHT, n4=RIGHT), sample(0, n1=WRONG, n4=RIGHT)])
    assert evaluator.evaluate(size=4) == pytest.approx(dict(top1_n1=75.0, top1_n4=25.0))


@pytest.mark.parametrize(('scores', 'expected'), [(RIGHT, 100.0), (WRONG, 0.0)])
def test_percent(scores, expected):
    metric = HeadAccuracy()
    metric.process({}, [sample(1, only=scores).to_dict()])
    assert metric.evaluate(size=1) == dict(top1_only=expected)


def test_results_are_forgotten_between_evaluations():
    metric = HeadAccuracy()
    metric.process({}, [sample(1, n1=WRONG).to_dict()])
    metric.evaluate(size=1)
    metric.process({}, [sample(1, n1=RIGHT).to_dict()])
    assert metric.evaluate(size=1) == dict(top1_n1=100.0)


@pytest.mark.parametrize('value', [torch.nan, torch.inf])
def test_scores_that_are_not_finite_are_errors(value):
    metric = HeadAccuracy()
    metric.process({}, [sample(0, all=[value] * 3, first=[value, 0.1, 0.2]).to_dict()])
    assert metric.evaluate(size=1) == dict(top1_all=0.0, top1_first=0.0)
