"""Metrics and hooks that mmseg lacks."""
from ovseg.evaluation.head_accuracy import HeadAccuracy
from ovseg.evaluation.plain_checkpoint_hook import PlainCheckpointHook
from ovseg.evaluation.vocabulary_check_hook import VocabularyCheckHook

__all__ = ['HeadAccuracy', 'PlainCheckpointHook', 'VocabularyCheckHook']
