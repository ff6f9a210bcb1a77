"""Evaluation on data that is all there."""
from typing import Any, Dict, Union

from mmengine.runner import Runner, TestLoop
from mmseg.registry import LOOPS
from torch.utils.data import DataLoader

from ovseg.data_check.data_files import check_data_files


@LOOPS.register_module()
class CheckedTestLoop(TestLoop):
    """mmengine's ``TestLoop`` behind ``check_data_files``.

    A hook would come too late: mmseg's data sets read their folders when they are built, before any hook runs.
    """

    def __init__(self, runner: Runner, dataloader: Union[DataLoader, Dict[str, Any]], *args: Any, **kwargs: Any) -> None:
        if isinstance(dataloader, dict):
            check_data_files(dataloader['dataset'])
        super().__init__(runner, dataloader, *args, **kwargs)
