"""From the windows' patch scores to a label map.

Upsampling every window, summing, dividing by the number of windows over a pixel and resizing to the wanted size are all
linear and separable. Per class they are one product ``A @ scores @ B.T`` with matrices that depend on the geometry only.
"""
from functools import lru_cache
from typing import Tuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ovseg.inference.windows import AxisWindows, WindowLayout


def bilinear_matrix(size: int, out_size: int) -> Tensor:
    """``(out_size, size)``: bilinear interpolation (align_corners=False) along one axis as a matrix."""
    return F.interpolate(torch.eye(size).unsqueeze(0), size=out_size, mode='linear', align_corners=False)[0].t()


@lru_cache(maxsize=32)
def axis_operator(axis: AxisWindows, out_size: int, device: torch.device) -> Tensor:
    """``(out_size, windows * cells)``: merges the windows' patch scores along one axis and resizes to ``out_size``."""
    padded = axis.pad[0] + axis.length + axis.pad[1]
    upsample = bilinear_matrix(axis.cells, padded)[axis.pad[0]:axis.pad[0] + axis.length]
    index = torch.arange(len(axis.starts)).unsqueeze(1)
    pixels = torch.tensor(axis.starts).unsqueeze(1) + torch.arange(axis.length)
    merge = torch.zeros(axis.size, len(axis.starts), axis.cells)
    merge[pixels, index] = upsample
    cover = torch.zeros(axis.size, len(axis.starts))
    cover[pixels, index] = 1
    merge = merge.flatten(1) / cover.sum(dim=1, keepdim=True)
    return (bilinear_matrix(axis.size, out_size) @ merge).to(device)


def merge_windows(scores: Tensor, layout: WindowLayout, out_size: Tuple[int, int]) -> Tensor:
    """Dense scores of an image.

    Args:
        scores: Patch scores of all windows, ``(windows, N, Q)``, row by row.
        layout: Where the windows lie.
        out_size: Wanted ``(height, width)``.

    Returns:
        ``(Q, height, width)`` float32.
    """
    a, b = (axis_operator(axis, size, scores.device) for axis, size in zip((layout.rows, layout.cols), out_size))
    return a @ layout.side_by_side(scores.float()) @ b.t()


def class_probabilities(scores: Tensor, query_to_class: Tensor, num_classes: int, logit_scale: float) -> Tensor:
    """Softmax over all queries; a class takes the largest probability among its synonyms.

    Args:
        scores: ``(Q, height, width)``.
        query_to_class: Class of each query, ``(Q,)`` int64.
        num_classes: K.
        logit_scale: Multiplies the scores before the softmax.

    Returns:
        ``(K, height, width)``; sums to 1 over K only where no class has synonyms.
    """
    probabilities = (scores * logit_scale).softmax(dim=0)
    if num_classes == len(query_to_class):
        return probabilities[query_to_class.argsort()]
    index = query_to_class.view(-1, 1, 1).expand_as(probabilities)
    return probabilities.new_zeros(num_classes, *scores.shape[1:]).scatter_reduce_(0, index, probabilities, 'amax')


def label_map(probabilities: Tensor, prob_thd: float = 0.0, bg_idx: int = 0) -> Tensor:
    """Most probable class of each pixel, ``bg_idx`` where its probability is under ``prob_thd``: ``(height, width)`` int64."""
    best, labels = probabilities.max(dim=0)
    return labels.masked_fill_(best < prob_thd, bg_idx) if prob_thd > 0 else labels
