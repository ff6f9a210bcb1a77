"""DBSCAN (Ester et al., 1996) for many small point sets at once, on the tensor's device."""
import math

import torch
from torch import Tensor
from torch.nn import functional as F

METRICS = ('euclidean', 'cosine')


def dbscan(points: Tensor, eps: float, min_samples: int, metric: str = 'euclidean') -> Tensor:
    """Cluster every set of points by density.

    A core point has at least ``min_samples`` points, itself included, within ``eps``. Core points within ``eps`` of each
    other share a cluster; other points within ``eps`` of a core point join its cluster (the first in number, if several);
    the rest is noise.

    Args:
        points: ``(B, N, E)``.
        eps: Radius.
        min_samples: Points within the radius that make a core point.
        metric: ``'euclidean'``, or ``'cosine'`` for ``1 - cos``.

    Returns:
        ``(B, N)`` int64: clusters 0, 1, … in the order of their first core point, noise -1.
    """
    return connect(pairwise_distances(points, metric) <= eps, min_samples)


def connect(near: Tensor, min_samples: int) -> Tensor:
    """``dbscan`` of points whose distances are known.

    Args:
        near: Pairs of points within the radius of each other, ``(B, N, N)`` bool, symmetric; a point counts as near to itself.
        min_samples: Points within the radius that make a core point.

    Returns:
        As ``dbscan``.
    """
    near = near | torch.eye(near.shape[-1], dtype=torch.bool, device=near.device)
    core = near.sum(dim=-1) >= min_samples
    linked = near & core.unsqueeze(1)
    first = _smallest(_closure(linked & core.unsqueeze(2)), torch.arange(near.shape[-1], device=near.device))
    root = _smallest(linked, first)  # a cluster is known by its first core point
    return _number(root, core)


def pairwise_distances(points: Tensor, metric: str) -> Tensor:
    """``(B, N, N)`` distances between ``points (B, N, E)``, as matrix products in float64 (float32 on MPS, which lacks it).

    In float32 the expanded square would lose distances under 1e-3 to rounding.
    """
    points = points.float() if points.device.type == 'mps' else points.double()
    if metric == 'cosine':
        unit = F.normalize(points, dim=-1)
        return 1 - unit @ unit.transpose(-2, -1)
    square = (points ** 2).sum(dim=-1)
    product = points @ points.transpose(-2, -1)
    return (square.unsqueeze(-1) + square.unsqueeze(-2) - 2 * product).clamp(min=0).sqrt()


def _closure(linked: Tensor) -> Tensor:
    """Transitive closure of symmetric relations ``(B, N, N)`` in log2 N rounds: each doubles the length of the paths.

    The number of rounds depends on N alone, so nothing waits for the device to say that it has converged.
    """
    for _ in range(math.ceil(math.log2(max(linked.shape[-1], 2)))):
        steps = linked.float()
        linked = linked | ((steps @ steps) > 0)
    return linked


def _smallest(mask: Tensor, values: Tensor) -> Tensor:
    """Per row of ``mask (B, N, N)`` the smallest of ``values`` (``(N,)`` or ``(B, N)``) that it admits; N where none."""
    return torch.where(mask, values.unsqueeze(-2), mask.shape[-1]).amin(dim=-1)


def _number(root: Tensor, core: Tensor) -> Tensor:
    """Number clusters 0, 1, … by their roots ``(B, N)``; a root of N is noise."""
    count = root.shape[-1]
    is_root = core & (root == torch.arange(count, device=root.device))
    number = (is_root.cumsum(dim=-1) - 1).gather(1, root.clamp(max=count - 1))
    return number.masked_fill(root == count, -1)
