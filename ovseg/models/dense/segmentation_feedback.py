"""ResCLIP's feedback: which patches a first segmentation puts into one object (Yang et al., 2025)."""
from typing import Tuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ovseg.inference.cache import keep_recent
from ovseg.models.refiners.pamr import affinity, propagate
from ovseg.models.towers.image_tower import Grid

DILATIONS, ROUNDS = (8, 16), 10  # of PAMR


def segmented_patches(images: Tensor, scores: Tensor, grid_size: Grid, patch_size: Tuple[int, int], logit_scale: float,
                      threshold: float, memory_mb: float = 64) -> Tensor:
    """The text embedding that most pixels of each patch belong to.

    The scores are interpolated to the windows' size and refined by PAMR. A pixel belongs to the text embedding of the largest
    probability, and to the first where that is under ``threshold``.

    Args:
        images: Windows ``(B, 3, h, w)``.
        scores: Scores of their patches ``(B, N, Q)``.
        grid_size: Rows and columns of the patches.
        patch_size: Height and width of a patch in pixels.
        logit_scale: Multiplies the scores in front of the softmax.
        threshold: In [0, 1].
        memory_mb: Bound for the dense scores held at a time; those of one window and one text embedding are held in any case.

    Returns:
        ``(B, N)`` int64; of several that are as frequent, the first.
    """
    pixels = memory_mb * 2 ** 20 / (4 * images[0, 0].numel())  # images of one channel that fit
    fixed, each = 16 * len(DILATIONS) + 12, 4  # of a window: weights and neighbours, image; of its dense scores: with copies
    windows = max(1, int(pixels / (fixed + each * scores.shape[2])))
    texts = max(1, int((pixels / min(windows, len(images)) - fixed) / each))
    found = []
    for some_images, some_scores in zip(images.split(windows), scores.split(windows)):
        labels = refined_labels(some_images.float(), some_scores, grid_size, logit_scale, threshold, texts)
        found.append(most_frequent(labels, grid_size, patch_size, scores.shape[2]))
    return torch.cat(found)


def refined_labels(images: Tensor, scores: Tensor, grid_size: Grid, logit_scale: float, threshold: float,
                   chunk_size: int) -> Tensor:
    """Labels ``(B, h, w)`` int64 of pixels, see ``segmented_patches``; ``chunk_size`` text embeddings at a time."""
    size = (images.shape[2], images.shape[3])
    weights = affinity(images, DILATIONS)
    best = images.new_full((len(images), *size), -torch.inf)
    labels, total = torch.zeros_like(best, dtype=torch.int64), torch.zeros_like(best)
    for first in range(0, scores.shape[2], chunk_size):
        grid = scores[..., first:first + chunk_size].contiguous().unflatten(1, grid_size).permute(0, 3, 1, 2)
        dense = F.interpolate(grid, size=size, mode='bilinear', align_corners=False)
        dense = propagate(dense, weights, DILATIONS, ROUNDS)
        values, place = dense.max(dim=1)
        labels = torch.where(values > best, first + place, labels)
        largest = torch.maximum(best, values)
        total = total * (logit_scale * (best - largest)).exp()
        total += dense.sub_(largest.unsqueeze(1)).mul_(logit_scale).exp_().sum(dim=1)
        best = largest
    return labels.masked_fill_(total.reciprocal() < threshold, 0)


def most_frequent(labels: Tensor, grid_size: Grid, patch_size: Tuple[int, int], count: int) -> Tensor:
    """The most frequent of ``labels (B, h, w)``, which are under ``count``, in each patch: ``(B, N)``, the first of several."""
    (rows, columns), (height, width) = grid_size, patch_size
    patches = labels[:, :rows * height, :columns * width].unflatten(1, (rows, height)).unflatten(3, (columns, width))
    index = patches.transpose(2, 3).flatten(3).flatten(1, 2)
    ones = torch.ones((), device=labels.device).expand(index.shape)
    return torch.zeros(*index.shape[:2], count, device=labels.device).scatter_add_(2, index, ones).argmax(dim=2)


def connection_map(labels: Tensor, grid_size: Grid, gaussian_std: float) -> Tensor:
    """Weights ``(B, N, N)`` float32 of two patches belonging to one object; the largest of each window is 1.

    1 for two patches of the same label, 0 for others; times ``exp(-steps / max_steps)`` if a patch on the path from one to the
    other has another label. ``steps`` is the larger of their distances in rows and in columns, ``max_steps`` the largest of the
    grid. As in the released code, the path is the straight line in ``max_steps`` equal steps, of which the first ``steps`` are
    checked. Every row is then smoothed along the order of the patches by a Gaussian over ``int(6 std + 1)`` patches, made odd,
    and divided by its sum.

    Args:
        labels: Of the patches, ``(B, N)``.
        grid_size: Rows and columns.
        gaussian_std: Of the Gaussian, in patches.
    """
    labels = labels.to(torch.int32)
    own = labels.unsqueeze(2)
    rows, columns, steps = _paths(grid_size, labels.device)
    connected = torch.ones((), dtype=torch.bool, device=labels.device).expand(len(labels), *steps.shape).clone()
    for step, (row, column) in enumerate(zip(rows, columns), start=1):
        place = (row[:, None, :, None] * grid_size[1] + column[None, :, None, :]).reshape(-1)
        connected &= (labels.index_select(1, place).view(connected.shape) == own) | (steps < step)
    decay = (-steps / max(1, len(rows))).exp()
    weights = (own == labels.unsqueeze(1)) * torch.where(connected, 1, decay)
    smoothed = weights @ _row_gaussian(steps.shape[0], gaussian_std, labels.device)
    smoothed /= smoothed.sum(dim=2, keepdim=True) + 1e-8
    return smoothed / smoothed.amax(dim=(1, 2), keepdim=True)


@keep_recent
def _paths(grid_size: Grid, device: torch.device) -> Tuple[Tensor, Tensor, Tensor]:
    """The paths between patches, see ``connection_map``.

    Returns:
        The row at each step by the rows of both ends, ``(max_steps, rows, rows)``; the column by the columns of both ends,
        ``(max_steps, columns, columns)``; both int64; and the steps of each path that are checked, ``(N, N)`` int64.
    """
    longest = max(grid_size) - 1
    # Ties are rounded as float32 has them, on every device alike. Step 0, the start, is left out.
    share = torch.linspace(0, 1, longest + 1)[1:].view(-1, 1, 1)
    row, column = torch.arange(grid_size[0]), torch.arange(grid_size[1])
    rows, columns = ((x[:, None] * (1 - share) + x * share).round().long() for x in (row, column))
    row_steps, column_steps = ((x[:, None] - x).abs() for x in (row, column))
    steps = torch.maximum(row_steps[:, None, :, None], column_steps[None, :, None, :]).flatten(2).flatten(0, 1)
    return rows.to(device), columns.to(device), steps.to(device)


@keep_recent
def _row_gaussian(count: int, std: float, device: torch.device) -> Tensor:
    """``(N, N)`` weights that smooth N values by a Gaussian over ``min(N, int(6 std + 1))`` values, made odd; others are 0."""
    half = min(count, int(6 * std + 1)) // 2
    kernel = torch.exp(-torch.arange(-half, half + 1) ** 2 / (2 * std ** 2))
    distance = torch.arange(count)[:, None] - torch.arange(count)
    weights = torch.exp(-distance ** 2 / (2 * std ** 2)).masked_fill_(distance.abs() > half, 0)
    return (weights / kernel.sum()).to(device)
