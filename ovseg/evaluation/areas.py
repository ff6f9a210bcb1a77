"""Areas of classes in label maps, and the IoU of areas."""
import numpy as np
import torch
from torch import Tensor


def class_areas(prediction: Tensor, ground_truth: Tensor, classes: int, ignore_index: int) -> np.ndarray:
    """Pixels of each class in both label maps, in the prediction, and in the ground truth: ``(3, K)`` int64.

    They are those of ``IoUMetric.intersect_and_union``, which counts each of the three by a histogram of its own and takes
    several times as long.

    Args:
        prediction: ``(H, W)`` int64; values from K on are no class: they count for no prediction, and miss the ground truth
            there.
        ground_truth: ``(H, W)``; values from K on are no class: they count for no class, but against what is predicted there.
        classes: K.
        ignore_index: Pixels of this ground truth do not count at all.
    """
    size = classes + 1  # what is no class comes last
    pairs = ground_truth.to(prediction).clamp(max=classes) * size + prediction.clamp(max=classes)
    pairs = pairs[ground_truth != ignore_index]
    confusion = pairs.bincount(minlength=size ** 2).view(size, size)
    return torch.stack([confusion.diagonal(), confusion.sum(dim=0), confusion.sum(dim=1)])[:, :classes].cpu().numpy()


def class_iou(intersect: np.ndarray, union: np.ndarray, absent: float = np.nan) -> np.ndarray:
    """``intersect / union`` in percent, ``absent`` where a class is neither in the ground truth nor in the prediction.

    Args:
        intersect: Pixels of each class in both, ``(..., K)``.
        union: Pixels in either, ``(..., K)``.
        absent: The value of a class without pixels, in percent.
    """
    return 100 * np.divide(intersect, union, out=np.full(np.shape(union), absent / 100), where=np.asarray(union) > 0)
