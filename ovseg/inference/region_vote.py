"""One label for all pixels of a region."""
import torch
from torch import Tensor

NUMBERS = 65536  # more than any label or region


def vote(labels: Tensor, regions: Tensor, ignore: int) -> Tensor:
    """Give every pixel of a region the label that most of its pixels have; of several, the smallest.

    Args:
        labels: ``(H, W)`` int64, 0 to 65,535.
        regions: ``(H, W)`` int64, 0 to 65,535; pixels of region 0 keep their labels.
        ignore: The label of pixels without a class, which keep it and have no vote.

    Returns:
        ``(H, W)`` int64.
    """
    voting = (regions > 0) & (labels != ignore)
    pairs, counts = (regions * NUMBERS + labels)[voting].unique(return_counts=True)
    ranks = counts * NUMBERS + (NUMBERS - 1 - pairs % NUMBERS)  # more pixels first, then the smaller label
    best = torch.zeros(NUMBERS, dtype=torch.int64, device=labels.device).scatter_reduce_(0, pairs // NUMBERS, ranks, 'amax')
    return torch.where(voting, NUMBERS - 1 - best[regions] % NUMBERS, labels)
