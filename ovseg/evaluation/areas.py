"""Areas of classes in label maps, and the IoU of areas."""
import numpy as np
import torch
from torch import Tensor


def class_areas(prediction: Tensor, ground_truth: Tensor, classes: int, ignore_index: int) -> Tensor:
    """Pixels of each class in both label maps, in the prediction, and in the ground truth: ``(3, K)`` int64.

    They are those of mmseg's ``IoUMetric.intersect_and_union``, which makes the host wait for the device four times.

    Args:
        prediction: ``(H, W)`` int64; values from K on are no class: they count for no prediction, and miss the ground truth
            there.
        ground_truth: ``(H, W)``; values from K on are no class: they count for no class, but against what is predicted there.
        classes: K.
        ignore_index: Pixels of this ground truth do not count at all.
    """
    labels = ground_truth.to(prediction)
    ignored = labels == ignore_index
    # all that does not count becomes K
    expected, predicted = (values.clamp(max=classes).masked_fill_(ignored, classes) for values in (labels, prediction))
    agreed = predicted.masked_fill(predicted != expected, classes)
    counts, ones = predicted.new_zeros(3, classes + 1), torch.ones_like(predicted).flatten()
    for count, values in zip(counts, (agreed, predicted, expected)):
        count.scatter_add_(0, values.flatten(), ones)  # bincount would wait for the largest value
    return counts[:, :classes]


def class_iou(intersect: np.ndarray, union: np.ndarray, absent: float = np.nan) -> np.ndarray:
    """``intersect / union`` in percent, ``absent`` where a class is neither in the ground truth nor in the prediction.

    Args:
        intersect: Pixels of each class in both, ``(..., K)``.
        union: Pixels in either, ``(..., K)``.
        absent: The value of a class without pixels, in percent.
    """
    return 100 * np.divide(intersect, union, out=np.full(np.shape(union), absent / 100), where=np.asarray(union) > 0)
