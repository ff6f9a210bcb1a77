"""Propagation of scores over the nodes of a graph."""
from dataclasses import dataclass
from typing import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def weighted_sums(rows: Tensor, index: Tensor, weights: Tensor, starts: Tensor) -> Tensor:
    """``sum over e of weights[e] * rows[index[e]]`` of consecutive ranges of e: a sparse matrix times a dense one.

    Args:
        rows: ``(m, C)`` float32.
        index: ``(E,)`` int32.
        weights: ``(E,)`` float32.
        starts: Where in ``index`` each of the n ranges begins, ``(n,)`` int32, ascending; a range may be empty.

    Returns:
        ``(n, C)``.
    """
    return F.embedding_bag(index, rows.contiguous(), starts, mode='sum', per_sample_weights=weights)


@dataclass(frozen=True)
class NeighbourGraph:
    """The weights ``W + Wᵀ`` of directed edges from each node to ``k`` neighbours, without those of a node to itself.

    It takes 16 bytes for each of the ``n * k`` edges.

    Args:
        index: The neighbours of all nodes, node by node, ``(n * k,)`` int32.
        weights: The weight of each, ``(n * k,)`` float32.
        starts: Where in ``index`` each node begins, ``(n,)`` int32.
        reverse_index: The nodes that have a node as neighbour, node by node, ``(n * k,)`` int32.
        reverse_weights: The weight of each, ``(n * k,)`` float32.
        reverse_starts: Where in ``reverse_index`` each node begins, ``(n,)`` int32.
    """
    index: Tensor
    weights: Tensor
    starts: Tensor
    reverse_index: Tensor
    reverse_weights: Tensor
    reverse_starts: Tensor

    @classmethod
    def of(cls, neighbours: Tensor, weights: Tensor) -> 'NeighbourGraph':
        """The graph of ``neighbours (n, k)`` int32 and their ``weights (n, k)`` float32, which are not negative."""
        count, k = neighbours.shape
        nodes = torch.arange(count, dtype=torch.int32, device=neighbours.device)
        weights = weights.masked_fill(neighbours == nodes.unsqueeze(1), 0).flatten()
        index = neighbours.flatten()
        targets, order = index.sort(stable=True)
        return cls(index, weights, nodes * k, order.div(k, rounding_mode='floor').int(), weights[order],
                   torch.searchsorted(targets, nodes, out_int32=True))

    def times(self, rows: Tensor) -> Tensor:
        """``(W + Wᵀ) @ rows`` of ``rows (n, C)``."""
        result = weighted_sums(rows, self.index, self.weights, self.starts)
        return result.add_(weighted_sums(rows, self.reverse_index, self.reverse_weights, self.reverse_starts))


def inverse_root(degrees: Tensor) -> Tensor:
    """``degrees ** -0.5``, but 0 for a node without edges."""
    return degrees.rsqrt().masked_fill_(degrees <= 0, 0)


def propagate(product: Callable[[Tensor], Tensor], degrees: Tensor, seeds: Tensor, alpha: float, num_iter: int,
              tolerance: float) -> Tensor:
    """Solution Z of ``(I - alpha D^-½ W D^-½) Z = Y`` by at most ``num_iter`` steps of conjugate gradients from zero.

    Each column is a system of its own: it stays as it is once its residual is at most ``tolerance`` times its seeds.

    Args:
        product: ``W @ rows`` of ``rows (n, C)``, for a symmetric W.
        degrees: Sums of the rows of W, the diagonal of D, ``(n, 1)``.
        seeds: Y, ``(n, C)`` float32.
        alpha: In [0, 1).
        num_iter: Number of steps.
        tolerance: Relative to the length of a column of Y.

    Returns:
        ``(n, C)``.
    """
    scale = inverse_root(degrees)
    solution, residual, direction = torch.zeros_like(seeds), seeds, seeds
    energy = seeds.square().sum(dim=0)
    limit = tolerance ** 2 * energy
    for _ in range(num_iter):
        stopped = energy <= limit
        image = product(direction * scale).mul_(scale).mul_(-alpha).add_(direction)
        length = (energy / (direction * image).sum(dim=0)).masked_fill_(stopped, 0)
        solution.addcmul_(direction, length)
        residual = torch.addcmul(residual, image, length, value=-1)
        remaining = residual.square().sum(dim=0)
        direction = torch.addcmul(residual, direction, (remaining / energy).masked_fill_(stopped, 0))
        energy = torch.where(stopped, energy, remaining)
    return solution
