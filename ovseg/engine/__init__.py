"""Hooks, loops and samplers that mmseg lacks."""
from ovseg.engine.checked_test_loop import CheckedTestLoop
from ovseg.engine.label_map_hook import LabelMapHook
from ovseg.engine.nonfinite_hook import NonFiniteHook
from ovseg.engine.plain_checkpoint_hook import PlainCheckpointHook
from ovseg.engine.progress_hook import ProgressHook
from ovseg.engine.unfinished_sampler import UnfinishedSampler
from ovseg.engine.vocabulary_check_hook import VocabularyCheckHook

__all__ = ['CheckedTestLoop', 'LabelMapHook', 'NonFiniteHook', 'PlainCheckpointHook', 'ProgressHook', 'UnfinishedSampler',
           'VocabularyCheckHook']
