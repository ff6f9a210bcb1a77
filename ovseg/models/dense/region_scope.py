"""The patches that CorrCLIP lets a patch attend to: those of its region, once similar regions are merged."""
import torch
from torch import Tensor
from torch.nn import functional as F

from ovseg.models.dense.guided import cosine_map
from ovseg.models.post_processors.dbscan import connect


def rank(numbers: Tensor) -> Tensor:
    """Number the values in each row of ``numbers (B, N)`` in their order: 0 for the smallest, then 1, 2, … without gaps."""
    ordered, order = numbers.sort(dim=1)
    ranks = F.pad((ordered[:, 1:] != ordered[:, :-1]).cumsum(dim=1), (1, 0))
    return torch.empty_like(order).scatter_(1, order, ranks)


def merge_regions(features: Tensor, regions: Tensor, eps: float) -> Tensor:
    """Merge the regions of each window whose mean features are alike.

    Two regions are linked if the cosine similarity of their means is at most ``eps`` under the largest one of the window (that
    of a region and itself, 1 but for rounding); linked regions are merged, as DBSCAN of one sample does it.

    Args:
        features: Patch features ``(B, N, C)``, which are divided by their lengths first.
        regions: The region of each patch, ``(B, N)`` int64, as ``rank`` gives them; region 0 is merged with none.
        eps: Difference of similarities.

    Returns:
        ``(B, N)`` int64: 0 where ``regions`` is 0, then 1, 2, … in the order of the first region of each.
    """
    count = int(regions.max()) + 1
    if count < 3:
        return regions
    unit = F.normalize(features.float(), dim=-1)
    sums = unit.new_zeros(len(unit), count, unit.shape[-1]).scatter_add_(1, regions.unsqueeze(-1).expand_as(unit), unit)
    similarity = cosine_map(sums[:, 1:])
    there = torch.zeros_like(sums[:, :, 0], dtype=torch.bool).scatter_(1, regions, True)[:, 1:]
    pairs = there.unsqueeze(1) & there.unsqueeze(2)
    largest = similarity.masked_fill(~pairs, -torch.inf).amax(dim=(1, 2), keepdim=True)
    clusters = connect((largest - similarity <= eps) & pairs, min_samples=1)
    return F.pad(clusters + 1, (1, 0)).gather(1, regions)


def scope_attention(features: Tensor, regions: Tensor, temperature: float) -> Tensor:
    """Attention by the cosine similarity S of patches, inside of regions.

    ``softmax(temperature · S)`` over the patches of the same region; for pairs with a patch in no region, over those with
    S > mean(S). A patch attends to itself in any case.

    Args:
        features: ``(B, N, C)``.
        regions: The region of each patch, ``(B, N)``; 0 is for patches in no region.
        temperature: Factor.

    Returns:
        ``(B, N, N)`` float32; rows sum to 1.
    """
    similarity = cosine_map(features)
    outside = regions == 0
    outside = outside.unsqueeze(1) | outside.unsqueeze(2)
    alike = ~(similarity <= similarity.mean(dim=(1, 2), keepdim=True))  # NaN counts as alike, so that it is not hidden
    allowed = torch.where(outside, alike, regions.unsqueeze(1) == regions.unsqueeze(2))
    allowed.diagonal(dim1=1, dim2=2).fill_(True)
    return similarity.mul_(temperature).masked_fill_(~allowed, -torch.inf).softmax(dim=-1)
