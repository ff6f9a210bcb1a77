"""ProxyCLIP and CorrCLIP one window at a time, written as one would write them first."""
import torch
from torch.nn import functional as F


def last_values(tower, block, x, own_grid, grid_size):
    """Values ``(N', D)`` of the patches of one window's tokens ``x (1, T, D)``, interpolated to the grid of the guide."""
    values = tower.qkv(block, x, own_grid)[2][0].transpose(0, 1).flatten(1)
    patches = values[int(tower.has_cls):]
    maps = patches.t().reshape(1, -1, *own_grid)
    return F.interpolate(maps, size=grid_size, mode='bilinear', align_corners=False)[0].flatten(1).t()


def joined(tower, block, attended):
    """Update ``(N', D)`` of the residual stream by attended values ``(N', D)``."""
    return tower.join(block, attended.reshape(1, len(attended), tower.heads, -1).transpose(1, 2))[0]


def loop_proxyclip(tower, window, features, grid_size, beta=1.2, gamma=3.0):
    """ProxyCLIP's tokens ``(N', D)`` of one window.

    Args:
        tower: The image tower.
        window: Normalised, ``(3, h, w)``.
        features: The guide's, ``(N', C)``.
        grid_size: Rows and columns of the guide.
        beta: Share of the mean similarity that is subtracted.
        gamma: Factor.
    """
    x, own_grid = tower.embed(window.unsqueeze(0))
    for block in tower.blocks[:-1]:
        x = tower.run(block, x, own_grid)
    unit = F.normalize(features, dim=-1)
    similarity = unit @ unit.t()
    logits = (similarity - beta * similarity.mean()) * gamma
    logits[logits < 0] = -torch.inf
    values = last_values(tower, tower.blocks[-1], x, own_grid, grid_size)
    return joined(tower, tower.blocks[-1], logits.softmax(dim=-1) @ values)
