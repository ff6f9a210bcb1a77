"""Metrics and hooks that mmseg lacks."""
from ovseg.evaluation.checked_test_loop import CheckedTestLoop
from ovseg.evaluation.head_accuracy import HeadAccuracy
from ovseg.evaluation.label_map_evaluator import LabelMapEvaluator
from ovseg.evaluation.label_map_hook import LabelMapHook
from ovseg.evaluation.nonfinite_hook import NonFiniteHook
from ovseg.evaluation.plain_checkpoint_hook import PlainCheckpointHook
from ovseg.evaluation.progress_hook import ProgressHook
from ovseg.evaluation.unfinished_sampler import UnfinishedSampler
from ovseg.evaluation.vocabulary_check_hook import VocabularyCheckHook

__all__ = ['CheckedTestLoop', 'HeadAccuracy', 'LabelMapEvaluator', 'LabelMapHook', 'NonFiniteHook', 'PlainCheckpointHook',
           'ProgressHook', 'UnfinishedSampler', 'VocabularyCheckHook']
