"""Weighted sums of the cells around each cell of a map."""
from typing import Tuple

import torch
from torch import Tensor

from ovseg.inference.cache import keep_recent
from ovseg.models.propagation import weighted_sums

STRIP_BYTES = 16 * 2 ** 20  # of the indices of a strip's neighbours


def sums_of_neighbours(padded: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums of the neighbours of every cell, which are at most ``r`` rows and columns away.

    Args:
        padded: Maps with a border of ``r`` cells, ``(B, H + 2r, W + 2r, C)`` float32.
        weights: ``(B, H, W, (2r + 1) ** 2)`` float32; neighbours row by row.

    Returns:
        ``(B, H, W, C)``.
    """
    count, height, width, neighbours = weights.shape
    border = padded.shape[1] - height
    per_strip = max(1, STRIP_BYTES // (4 * neighbours * width * count))
    result = padded.new_empty(count, height, width, padded.shape[3])
    for top in range(0, height, per_strip):
        rows = slice(top, min(top + per_strip, height))
        index, starts = _strip_neighbours(count, rows.stop - top, width, border // 2, padded.device)
        near = padded[:, top:rows.stop + border].flatten(0, 2)
        result[:, rows] = weighted_sums(near, index, weights[:, rows].flatten(), starts).view(count, -1, *result.shape[2:])
    return result


@keep_recent
def _strip_neighbours(count: int, height: int, width: int, reach: int, device: torch.device) -> Tuple[Tensor, Tensor]:
    """Of each cell of some rows its neighbours in the same rows with their border, ``(count * height * width * s,)`` int32,
    and where in them each cell begins, ``(count * height * width,)`` int32.
    """
    side = 2 * reach + 1
    n, y, x, v, u = (torch.arange(size, dtype=torch.int32, device=device) for size in (count, height, width, side, side))
    row = n.view(-1, 1, 1, 1, 1) * (height + 2 * reach) + y.view(-1, 1, 1, 1) + v.view(-1, 1)
    index = (row * (width + 2 * reach) + x.view(-1, 1, 1) + u).flatten()
    return index, torch.arange(count * height * width, dtype=torch.int32, device=device) * side ** 2
