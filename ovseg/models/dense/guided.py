"""Attention between the patches of a guide: the steps that ProxyCLIP and CorrCLIP share."""
from typing import Any, Callable, Tuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ovseg.models.towers.image_tower import Grid, ImageTower
from ovseg.precision import full_precision

DINO = dict(type='TimmGuide', model='vit_base_patch8_224.dino')
LARGEST_MAP = 2 ** 25  # numbers of the maps between patches that are computed at a time


def penultimate(tower: ImageTower, images: Tensor) -> Tuple[Tensor, Grid]:
    """Input of the last block ``(B, T, D)`` of normalised images ``(B, 3, H, W)``, and the grid of its patches."""
    x, grid_size = tower.embed(images)
    for block in list(tower.blocks)[:-1]:
        x = tower.run(block, x, grid_size)
    return x, grid_size


def cosine_map(features: Tensor) -> Tensor:
    """Cosine similarities ``(B, N, N)`` float32 of the patches of ``features (B, N, C)``; 0 for zero vectors."""
    unit = F.normalize(features.float(), dim=-1)
    with full_precision(unit):
        return unit @ unit.transpose(1, 2)


def values_on_grid(values: Tensor, own_grid: Grid, grid_size: Grid) -> Tensor:
    """Values of patches, bilinearly interpolated to another grid, with heads joined.

    Args:
        values: Values of all tokens ``(B, H, T, d)``; those in front of the patches are left out.
        own_grid: Rows and columns ``(h, w)`` of the patches.
        grid_size: Rows and columns ``(h', w')`` of the result.

    Returns:
        ``(B, h' * w', H * d)``.
    """
    patches = values[:, :, values.shape[2] - own_grid[0] * own_grid[1]:]
    maps = patches.transpose(2, 3).flatten(1, 2).unflatten(2, own_grid)
    return F.interpolate(maps, grid_size, mode='bilinear', align_corners=False).flatten(2).transpose(1, 2)


def join_values(tower: ImageTower, block: nn.Module, attended: Tensor) -> Tensor:
    """``tower.join`` of attended values ``(B, N, H * d)``, whose heads all have the same weights: ``(B, N, D)``."""
    return tower.join(block, attended.unflatten(2, (tower.heads, -1)).transpose(1, 2))


def some_windows_at_a_time(function: Callable[..., Tensor], patches: int, *tensors: Any) -> Tensor:
    """``function(*tensors)`` of tensors ``(B, ...)``, of so many windows at a time as ``LARGEST_MAP`` allows.

    Args:
        function: A function that treats windows alike and gives ``(B, ...)``, with maps ``(B, N, N)`` inside.
        patches: N.
        tensors: Its arguments.
    """
    windows = max(1, LARGEST_MAP // patches ** 2)
    return torch.cat([function(*some) for some in zip(*(tensor.split(windows) for tensor in tensors))])
