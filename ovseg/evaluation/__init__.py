"""Metrics that mmseg lacks, and label maps in folders."""
from ovseg.evaluation.boundary_iou import BoundaryIoUMetric
from ovseg.evaluation.head_accuracy import HeadAccuracy
from ovseg.evaluation.iou_metric import DeviceIoUMetric
from ovseg.evaluation.label_map_evaluator import LabelMapEvaluator

__all__ = ['BoundaryIoUMetric', 'DeviceIoUMetric', 'HeadAccuracy', 'LabelMapEvaluator']
