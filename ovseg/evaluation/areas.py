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
    size = classes + 1  # what is no class comes last
    pairs = ground_truth.to(prediction).clamp(max=classes) * size + prediction.clamp(max=classes)
    pairs = pairs.masked_fill_(ground_truth == ignore_index, size ** 2).flatten()
    # bincount would wait for the largest value
    counts = pairs.new_zeros(size ** 2 + 1).scatter_add_(0, pairs, torch.ones_like(pairs))
    confusion = counts[:-1].view(size, size)
    return torch.stack([confusion.diagonal(), confusion.sum(dim=0), confusion.sum(dim=1)])[:, :classes]


def class_iou(intersect: np.ndarray, union: np.ndarray, absent: float = np.nan) -> np.ndarray:
    """``intersect / union`` in percent, ``absent`` where a class is neither in the ground truth nor in the prediction.

    Args:
        intersect: Pixels of each class in both, ``(..., K)``.
        union: Pixels in either, ``(..., K)``.
        absent: The value of a class without pixels, in percent.
    """
    return 100 * np.divide(intersect, union, out=np.full(np.shape(union), absent / 100), where=np.asarray(union) > 0)
