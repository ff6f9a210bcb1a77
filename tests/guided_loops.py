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


def resized(regions, size):
    """A map ``(h, w)`` of integers by the nearest neighbour, pixel by pixel."""
    rows, columns = ([int(place * (old / new)) for place in range(new)] for old, new in zip(regions.shape, size))
    return torch.tensor([[int(regions[row, column]) for column in columns] for row in rows])


def loop_merge(unit, regions, eps):
    """Regions ``(N,)`` after merging, as CorrCLIP does it: a mask for each region, and scikit-learn's DBSCAN.

    Args:
        unit: Unit features of the patches, ``(N, C)``.
        regions: The region of each patch; the smallest number means none.
        eps: Radius.
    """
    from sklearn.cluster import DBSCAN
    regions = regions.clone()
    masks = [regions == number for number in sorted(set(regions.tolist()))]
    if len(masks) > 2:
        means = F.normalize(torch.stack([unit[mask].mean(dim=0) for mask in masks[1:]]), dim=-1)
        similarity = means @ means.t()
        distances = (similarity.max() - similarity).clamp(min=0)
        for mask, cluster in zip(masks[1:], DBSCAN(eps=eps, min_samples=1, metric='precomputed').fit_predict(distances)):
            regions[mask] = 100_000 + int(cluster)
    return regions


def loop_scope(similarity, regions, temperature):
    """Weights ``(N, N)`` of one window; arguments as in ``loop_merge``, and the similarity of patches."""
    first, *others = (regions == number for number in sorted(set(regions.tolist())))
    allowed = torch.zeros_like(similarity, dtype=torch.bool)
    for mask in others:
        allowed |= torch.outer(mask, mask)
    allowed |= (first.unsqueeze(0) | first.unsqueeze(1)) & (similarity > similarity.mean())
    allowed |= torch.eye(len(similarity), dtype=torch.bool)
    return (similarity * temperature).masked_fill(~allowed, -torch.inf).softmax(dim=-1)


def loop_corrclip(tower, window, features, grid_size, regions, eps=0.2, temperature=4.0, spatial_layers=5):
    """CorrCLIP's main, spatial and semantic tokens of one window, ``(N', D)`` each.

    The copies of the CLS token stand in one sequence with all others.

    Args:
        tower: An image tower of open_clip.
        window: Normalised, ``(3, h, w)``.
        features: The guide's, ``(N', C)``.
        grid_size: Rows and columns of the guide.
        regions: ``(h, w)``.
        eps: Radius in which regions are merged.
        temperature: Factor of similarities.
        spatial_layers: Blocks of the spatial branch.
    """
    unit = F.normalize(features, dim=-1)
    merged = loop_merge(unit, resized(regions, grid_size).flatten(), eps)
    weights = loop_scope(unit @ unit.t(), merged, temperature)
    x, own_grid = tower.embed(window.unsqueeze(0))
    own = resized(merged.view(grid_size), own_grid)
    masks = [own == number for number in sorted(set(own.flatten().tolist()))]
    count, length = len(masks), x.shape[1]
    sees = torch.zeros(count + length, count + length, dtype=torch.bool)
    sees[:, count] = sees[count:, count:] = True
    for index, mask in enumerate(masks):
        sees[index, count + 1:] = mask.flatten()
    x = torch.cat([x[:, :1].expand(-1, count, -1), x], dim=1)
    outputs = []
    for block in tower.blocks:
        outputs.append(x)
        q, k, v = tower.qkv(block, x, own_grid)
        logits = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
        x = x + tower.join(block, logits.masked_fill(~sees, -torch.inf).softmax(dim=-1) @ v)
        x = x + tower.mlp(block, x)
    last, copies = tower.blocks[-1], x[0, :count]
    spatial = torch.stack(outputs[-1 - spatial_layers:-1]).mean(dim=0)
    branches = [joined(tower, last, weights @ last_values(tower, last, entered[:, count:], own_grid, grid_size))
                for entered in (outputs[-1], spatial)]
    fine = torch.stack([resized(mask, grid_size) for mask in masks]).flatten(1).to(copies.dtype)
    return torch.stack([*branches, fine.t() @ copies])
