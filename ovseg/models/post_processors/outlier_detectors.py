"""Outlier scores of patches; larger means more of an outlier."""
from typing import Any, Callable, Dict, Tuple

import torch
from torch import Tensor

LOF_NEIGHBOURS = 30
EQUAL = 1e-12  # of the sum of two squared norms; a squared distance under it is rounding error


def cls_ratio(attn: Tensor, eps: float = 1e-8) -> Tensor:
    """``attn[0, i] / (attn[i, i] + eps)``, ``(B, N)`` float32: attention of the CLS token to a patch over that of the patch."""
    return attn[:, 0, 1:].float() / (attn.diagonal(dim1=-2, dim2=-1)[:, 1:].float() + eps)


def deviation(patches: Tensor) -> Tensor:
    """L2 distance of each of ``patches (B, N, D)`` from their mean, ``(B, N)``: OutlierImputeHead's criterion."""
    patches = patches.float()
    return (patches - patches.mean(dim=1, keepdim=True)).norm(dim=-1)


def norm(patches: Tensor) -> Tensor:
    """L2 norm of each of ``patches (B, N, D)``, ``(B, N)``: the artefacts of "Vision Transformers Need Registers"."""
    return patches.float().norm(dim=-1)


def distances(patches: Tensor) -> Tensor:
    """Euclidean distances ``(B, N, N)`` float32 of all ``patches (B, N, D)`` float32 of a window.

    Norms of tokens are large beside their distances, so that products in float32 would lose digits. GPUs take differences. A
    CPU, which is ten times slower at those, takes products in float64; equal patches still have a distance of 0.
    """
    if patches.device.type != 'cpu':
        return torch.cdist(patches, patches, compute_mode='donot_use_mm_for_euclid_dist')
    wide = patches.double()
    norms = wide.square().sum(dim=-1)
    sums = norms.unsqueeze(1) + norms.unsqueeze(2)
    squares = torch.baddbmm(sums, wide, wide.transpose(1, 2), alpha=-2)
    return squares.masked_fill_(squares < EQUAL * sums, 0).sqrt_().float()


def nearest_patches(patches: Tensor, neighbours: int) -> Tuple[Tensor, Tensor]:
    """Euclidean distances from each of ``patches (B, N, D)`` to its nearest others, ascending, and their numbers.

    Args:
        patches: At least two in a window.
        neighbours: k, clamped to N - 1.

    Returns:
        ``(B, N, k)`` float32 and ``(B, N, k)`` int64.
    """
    distance = distances(patches.float())
    itself = torch.eye(patches.shape[1], dtype=torch.bool, device=patches.device)
    distance = distance.masked_fill_(itself, torch.inf)
    return distance.topk(min(neighbours, patches.shape[1] - 1), largest=False)


def local_outlier_factor(patches: Tensor, neighbours: int = LOF_NEIGHBOURS) -> Tensor:
    """Local outlier factor of the textbook (Breunig et al., 2000), with Euclidean distances; SC-CLIP's own differs.

    Args:
        patches: ``(B, N, D)``.
        neighbours: k, clamped to N - 1.

    Returns:
        ``(B, N)`` float32; about 1 for inliers. 1 for a lone patch.
    """
    count = patches.shape[1]
    if count == 1:
        return torch.ones(patches.shape[:2], device=patches.device)
    near, index = nearest_patches(patches, neighbours)
    reach = near[..., -1].unsqueeze(1).expand(-1, count, -1).gather(2, index).maximum(near)
    density = 1 / (reach.mean(dim=-1) + 1e-10)
    return density.unsqueeze(1).expand(-1, count, -1).gather(2, index).mean(dim=-1) / density


DETECTORS: Dict[str, Callable[[Tensor, Any], Tensor]] = dict(
    cls_ratio=lambda patches, attn: cls_ratio(attn),
    deviation=lambda patches, attn: deviation(patches),
    norm=lambda patches, attn: norm(patches),
    lof=lambda patches, attn: local_outlier_factor(patches))
