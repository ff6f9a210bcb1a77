"""Evaluation on data that is all there."""
from typing import Any, Dict, Union

from mmengine.runner import Runner, TestLoop
from mmseg.registry import LOOPS
from torch.utils.data import DataLoader

from ovseg.data_check.checked_labels import check_labels, check_while_read, scored_without
from ovseg.data_check.data_files import check_data_files
from ovseg.evaluation import LabelMapEvaluator


@LOOPS.register_module()
class CheckedTestLoop(TestLoop):
    """mmengine's ``TestLoop`` behind ``check_data_files`` and ``check_labels``.

    A hook would come too late: mmseg's data sets read their folders when they are built, before any hook runs.
    """

    def __init__(self, runner: Runner, dataloader: Union[DataLoader, Dict[str, Any]], *args: Any, **kwargs: Any) -> None:
        if isinstance(dataloader, dict):
            check_data_files(dataloader['dataset'])
        super().__init__(runner, dataloader, *args, **kwargs)
        if isinstance(dataloader, dict):
            # LabelMapEvaluator has read a sample of the same data set already
            check = check_while_read if isinstance(self.evaluator, LabelMapEvaluator) else check_labels
            check(self.dataloader.dataset, scored_without(self.evaluator.metrics))
