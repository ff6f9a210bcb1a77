"""mIoU, counted on the device."""
from typing import Dict, List, Tuple

from mmseg.evaluation import IoUMetric
from mmseg.registry import METRICS
from torch import Tensor

from ovseg.evaluation.areas import class_areas


@METRICS.register_module(name='IoUMetric', force=True)
class DeviceIoUMetric(IoUMetric):
    """mmseg's ``IoUMetric``, in whose place it is registered, without its waits for the device.

    Pixels are counted where the labels are, and the counts stay there until the end of the evaluation. They are integers, so
    that areas are exact for any number of pixels; mmseg adds them in float32.
    """

    @staticmethod
    def intersect_and_union(pred_label: Tensor, label: Tensor, num_classes: int, ignore_index: int) -> Tuple[Tensor, ...]:
        """Areas of an image.

        Args:
            pred_label: ``(H, W)`` int64.
            label: The ground truth, ``(H, W)``.
            num_classes: K.
            ignore_index: Pixels of this ground truth do not count.

        Returns:
            Pixels of each class in both label maps, in one of them at least, in the prediction, and in the ground truth, each
            ``(K,)`` int64.
        """
        intersect, predicted, expected = class_areas(pred_label, label, num_classes, ignore_index)
        return intersect, predicted + expected - intersect, predicted, expected

    def evaluate(self, size: int) -> Dict[str, float]:
        """See ``BaseMetric``. Counts leave the device before other processes get them."""
        self.results: List[Tuple[Tensor, ...]] = [tuple(areas.cpu().double() for areas in image) for image in self.results]
        return super().evaluate(size)
