"""IoU of the boundaries of classes."""
import math
from typing import Any, Dict, List, Mapping, Optional, Sequence

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger, print_log
from mmseg.evaluation import IoUMetric
from mmseg.registry import METRICS
from prettytable import PrettyTable
from torch import Tensor
from torch.nn import functional as F

from ovseg.config import metrics_of
from ovseg.evaluation.areas import class_areas, class_iou
from ovseg.utils import check_number, registered

OUTSIDE, SEVERAL = -1, -2  # in place of a class: beyond the image, and where labels differ
SHARED = ('ignore_index', 'nan_to_num', 'collect_device', 'prefix')  # options of IoUMetric that mean the same here


@METRICS.register_module()
class BoundaryIoUMetric(BaseMetric):
    """Boundary IoU of semantic label maps (Cheng et al., CVPR 2021): ``mBoundaryIoU`` in percent.

    The boundary of a class is its pixels within ``d`` pixels of another class, of pixels without a class, or of the image's
    edge; ``d`` is ``dilation`` times the diagonal of the image, rounded, at least 1. For each class, the intersection and the
    union of its boundaries in the prediction and in the ground truth are summed over all images. Their ratio is averaged over
    the classes that have a boundary in either, as in mIoU. As in the code of LPOSS and of CorrCLIP v2, pixels that the ground
    truth ignores have no class in the prediction either.

    Args:
        ignore_index: Label of pixels that the ground truth ignores.
        dilation: Width of a boundary, as a share of the diagonal.
        nan_to_num: Boundary IoU of a class without a boundary, as a share of 1; None leaves it out of the mean.
        collect_device: See ``BaseMetric``.
        prefix: See ``BaseMetric``.

    Raises:
        ValueError: ``dilation`` is not in (0, 1].
    """

    def __init__(self, ignore_index: int = 255, dilation: float = 0.02, nan_to_num: Optional[int] = None,
                 collect_device: str = 'cpu', prefix: Optional[str] = None) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.ignore_index, self.nan_to_num = ignore_index, nan_to_num
        self.dilation = check_number('test_evaluator.dilation', dilation, 0, 1, above=True)

    def process(self, data_batch: Any, data_samples: Sequence[Dict[str, Any]]) -> None:
        """See ``BaseMetric``."""
        classes = len(self.dataset_meta['classes'])
        for sample in data_samples:
            prediction, ground_truth = (sample[key]['data'].squeeze(0) for key in ('pred_sem_seg', 'gt_sem_seg'))
            self.results.append(boundary_areas(prediction, ground_truth, classes, self.ignore_index, self.dilation))

    def evaluate(self, size: int) -> Dict[str, float]:
        """See ``BaseMetric``. Counts leave the device before other processes get them."""
        self.results: List[Tensor] = [areas.cpu() for areas in self.results]
        return super().evaluate(size)

    def compute_metrics(self, results: List[Tensor]) -> Dict[str, float]:
        """See ``BaseMetric``. Logs the Boundary IoU of each class."""
        intersect, predicted, ground_truth = torch.stack(results).sum(dim=0).numpy()
        absent = np.nan if self.nan_to_num is None else 100 * self.nan_to_num
        iou = class_iou(intersect, predicted + ground_truth - intersect, absent)
        table = PrettyTable()
        table.add_column('Class', list(self.dataset_meta['classes']))
        table.add_column('BoundaryIoU', iou.round(2).tolist())
        print_log(f'boundaries of {self.dilation:g} of the diagonal, per class:\n{table.get_string()}',
                  MMLogger.get_current_instance())
        return dict(mBoundaryIoU=float(np.round(np.nanmean(iou), 2)))


def boundary_areas(prediction: Tensor, ground_truth: Tensor, classes: int, ignore_index: int = 255,
                   dilation: float = 0.02) -> Tensor:
    """Pixels in the boundary of each class in both label maps, in the prediction, and in the ground truth: ``(3, K)`` int64.

    Args:
        prediction: ``(H, W)`` of an integer type; values from K on are no class.
        ground_truth: The same.
        classes: K.
        ignore_index: Pixels of this ground truth have no class in the prediction either.
        dilation: Width of a boundary, as a share of the diagonal.
    """
    height, width = prediction.shape
    distance = max(1, round(dilation * math.sqrt(height ** 2 + width ** 2)))
    ignored = ground_truth.to(prediction.device) == ignore_index
    # all that is no class becomes K
    maps = [labels.to(prediction.device, torch.int64).clamp(max=classes).masked_fill(ignored, classes)
            for labels in (prediction, ground_truth)]
    predicted, expected = (labels.masked_fill(~near_others(labels, distance), classes) for labels in maps)
    return class_areas(predicted, expected, classes, ignore_index=OUTSIDE)


def near_others(labels: Tensor, distance: int) -> Tensor:
    """Mark the pixels of ``labels (H, W)`` within ``distance`` of another label, diagonally too, or of the image's edge.

    These are what the erosion of each label's mask by a square takes away. A square has one label where each of its rows has
    one, and these are equal: both are found from numbers of changes along an axis, in a time that does not depend on
    ``distance`` or the number of labels.
    """
    padded = F.pad(labels, (1, 1, 1, 1), value=OUTSIDE)
    rows = padded.masked_fill(_changes_near(padded, distance), SEVERAL)
    return (_changes_near(rows.t(), distance).t() | (rows == SEVERAL))[1:-1, 1:-1]


def _changes_near(labels: Tensor, distance: int) -> Tensor:
    """Mark where ``labels (n, m)`` change within ``distance`` along the second axis."""
    changes = F.pad((labels[:, 1:] != labels[:, :-1]).cumsum(dim=1), (1, 0))  # up to each place
    place = torch.arange(labels.shape[1], device=labels.device)
    last = labels.shape[1] - 1
    return changes[:, (place + distance).clamp(max=last)] != changes[:, (place - distance).clamp(min=0)]


def with_boundary_iou(evaluator: Any) -> List[Any]:
    """The metrics of ``test_evaluator`` and a ``BoundaryIoUMetric``, which ignores the label that the ``IoUMetric`` ignores.

    A ``BoundaryIoUMetric`` that is there already stays as it is.

    Raises:
        ValueError: there is no ``IoUMetric``.
    """
    metrics = metrics_of(evaluator)
    if any(is_metric(metric, BoundaryIoUMetric) for metric in metrics):
        return metrics
    beside = next((metric for metric in metrics if is_metric(metric, IoUMetric)), None)
    if beside is None:
        raise ValueError('--boundary-iou needs an IoUMetric in the test_evaluator of the config, and there is none')
    return [*metrics, dict(type=BoundaryIoUMetric.__name__, **{key: beside[key] for key in SHARED if key in beside})]


def is_metric(cfg: Any, class_: type) -> bool:
    """True for a metric's config whose type is ``class_`` or a class that inherits from it."""
    type_ = cfg.get('type') if isinstance(cfg, Mapping) else None
    found = type_ if isinstance(type_, type) else registered(METRICS, type_)
    return isinstance(found, type) and issubclass(found, class_)
