"""Evaluation on data that is all there."""
from typing import Any, Dict, Union

import torch
from mmengine.runner import Runner, TestLoop
from mmseg.registry import LOOPS
from torch.utils.data import DataLoader

from ovseg.datasets.data_files import check_data_files


@LOOPS.register_module()
class CheckedTestLoop(TestLoop):
    """mmengine's ``TestLoop`` behind ``check_data_files``. With a GPU, batches wait in pinned memory: copies overlap compute.

    A hook would come too late: mmseg's data sets read their folders when they are built, before any hook runs. A data set
    without ``data_root`` (one that comes with its files, or draws them) is taken as it is.
    """

    def __init__(self, runner: Runner, dataloader: Union[DataLoader, Dict[str, Any]], *args: Any, **kwargs: Any) -> None:
        if isinstance(dataloader, dict):
            if dataloader['dataset'].get('data_root'):
                check_data_files(dataloader['dataset'])
            dataloader = dict(dict(pin_memory=torch.cuda.is_available()), **dataloader)
        super().__init__(runner, dataloader, *args, **kwargs)
