"""The score of label maps in a folder."""
from pathlib import Path
from typing import Any, Dict, List, Union

import numpy as np
import torch
from mmengine.dataset import DefaultSampler
from mmengine.dist import barrier, is_main_process
from mmengine.evaluator import Evaluator
from mmengine.structures import PixelData
from mmseg.registry import DATASETS, EVALUATOR
from mmseg.structures import SegDataSample
from rich.progress import track
from torch.utils.data import DataLoader, Dataset

from ovseg.data_check.checked_labels import check_labels, scored_without
from ovseg.evaluation.label_maps import find_label_maps, original_ids, read_label_map
from ovseg.evaluation.undefined_pixels import warn_of_undefined
from ovseg.inference.nonfinite import ignore_label
from ovseg.utils import check_choice


class SavedPredictions(Dataset):
    """The samples of a data set with label maps from files as predictions.

    Args:
        dataset: One of mmseg's.
        paths: The label map of each image.
        ids: ``(K,)``, the value of each class in these files.
    """

    def __init__(self, dataset: Any, paths: List[Path], ids: np.ndarray) -> None:
        self.dataset, self.paths, self.ids = dataset, paths, ids

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> SegDataSample:
        sample = self.dataset[index]['data_samples']
        labels = read_label_map(self.paths[index], self.ids, sample.ori_shape[:2])
        sample.pred_sem_seg = PixelData(data=torch.from_numpy(labels)[None])
        return sample


@EVALUATOR.register_module()
class LabelMapEvaluator(Evaluator):
    """Applies metrics to label maps in a folder, in the order of the data set, instead of to what a model has just predicted.

    Pixels without a class (``ignore_id``) are counted over all processes, and a warning says how many there are.

    Args:
        metrics: Configs of metrics, as in ``test_evaluator``.
        dataset: Config of the data set.
        folder: Holds the label maps, as ``find_label_maps`` looks for them.
        ids: How they number classes: 'original', as the data set's annotation files do, or 'train', from 0 in the order of its
            classes.
        num_workers: Processes that load files; 0 loads in this one.

    Raises:
        ValueError: label maps of the data set have errors; see ``check_labels``.
    """

    def __init__(self, metrics: Union[dict, list], dataset: dict, folder: str, ids: str = 'original',
                 num_workers: int = 0) -> None:
        super().__init__(metrics)
        self.dataset = DATASETS.build(dataset)
        check_labels(self.dataset, scored_without(self.metrics))
        self.dataset_meta = self.dataset.metainfo
        self.folder, self.num_workers = folder, num_workers
        self.ids = check_choice('ids', ids, ('original', 'train'))

    def process(self, data_samples: Any, data_batch: Any = None) -> None:
        """Nothing yet: label maps are read when all are there."""

    def evaluate(self, size: int) -> Dict[str, float]:
        """See ``Evaluator``. Every process reads its share of the label maps.

        Raises:
            FileNotFoundError: label maps are missing.
            ValueError: a label map does not fit its image or the classes; see ``read_label_map``.
        """
        barrier()  # another process may still be writing
        metainfo = self.dataset.metainfo
        ids = original_ids(metainfo) if self.ids == 'original' else np.arange(len(metainfo['classes']))
        predictions = SavedPredictions(self.dataset, find_label_maps(self.dataset, self.folder), ids)
        loader = DataLoader(predictions, batch_size=None, num_workers=self.num_workers,
                            sampler=DefaultSampler(predictions, shuffle=False, round_up=False))
        undefined: Dict[str, int] = {}
        for sample in track(loader, f'scoring {self.folder}', disable=not is_main_process()):
            pixels = int((sample.pred_sem_seg.data == ignore_label(len(ids))).sum())
            if pixels:
                undefined[sample.img_path] = pixels
            super().process([sample])
        warn_of_undefined(undefined, 'their label maps give them none, as where scores are not finite (NaN or Inf) or '
                          'probabilities under decoder.reject')
        return super().evaluate(size)
