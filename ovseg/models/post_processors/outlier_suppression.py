"""Outlier suppression: replace the patches of largest outlier score, and subtract their part from their neighbours."""
from typing import Tuple

import torch
from torch import Tensor

from ovseg.inference.cache import keep_recent
from ovseg.models.dense_features import DenseFeatures
from ovseg.models.post_processors.outlier_detectors import DETECTORS
from ovseg.models.post_processors.post_processor import PostProcessor, attention_of, cosine
from ovseg.registry import POST_PROCESSORS
from ovseg.utils import check_choice, check_integer, check_number


@keep_recent
def grid_neighbours(grid_size: Tuple[int, int], device: torch.device) -> Tensor:
    """``(N, N)`` bool: True where two patches share a side or a corner."""
    rows, cols = (torch.arange(size, device=device) for size in grid_size)
    near_row, near_col = ((x[:, None] - x).abs() <= 1 for x in (rows, cols))
    near = near_row[:, None, :, None] & near_col[None, :, None, :]
    return near.flatten(2).flatten(0, 1).fill_diagonal_(False)


def outlier_mask(scores: Tensor, top_k: int) -> Tensor:
    """``(B, N)`` bool: the ``top_k`` (clamped to N) patches of largest ``scores (B, N)``."""
    index = scores.topk(min(top_k, scores.shape[1])).indices
    return torch.zeros_like(scores, dtype=torch.bool).scatter_(1, index, True)


def suppress_outliers(patches: Tensor, outliers: Tensor, neighbours: Tensor, contamination_temp: float) -> Tensor:
    """Replace outliers by their neighbours and clean their neighbours; every right-hand side is the input.

    ``x̃_i = Σ_{j∈N(i)} w_ij x_j`` for outliers, ``w_ij`` the softmax over ``N(i)`` of ``1 - cos(x_i, x_j)``;
    ``x̃_j = x_j - contamination_temp · Σ_{i∈O, j∈N(i)} cos(x_i, x_j) · x_i`` for all others.

    Args:
        patches: ``(B, N, D)``.
        outliers: O, ``(B, N)`` bool.
        neighbours: Symmetric ``(N, N)`` bool without diagonal, at least one neighbour per patch.
        contamination_temp: In [0, 1].

    Returns:
        ``(B, N, D)`` in the dtype of ``patches``; patches that are neither an outlier nor beside one are bit-identical.
    """
    x, similarity = patches.float(), cosine(patches, patches)
    weights = (1 - similarity).masked_fill(~neighbours, -torch.inf).softmax(dim=-1)
    beside = outliers.unsqueeze(1) & neighbours
    cleaned = x - contamination_temp * ((similarity * beside) @ x)
    result = torch.where(outliers.unsqueeze(-1), weights @ x, cleaned)
    touched = outliers | beside.any(dim=-1)
    return torch.where(touched.unsqueeze(-1), result.to(patches.dtype), patches)


@POST_PROCESSORS.register_module()
class OutlierSuppression(PostProcessor):
    """Finds outliers and applies ``suppress_outliers``.

    Args:
        top_k: Outliers per window, clamped to the number of patches; 0 does nothing.
        contamination_temp: How much of an outlier is taken out of its neighbours; in [0, 1].
        detector: What makes an outlier: ``'cls_ratio'``, ``'deviation'``, ``'norm'`` or ``'lof'``.
    """

    stage = 'tokens'

    def __init__(self, top_k: int = 30, contamination_temp: float = 0.1, detector: str = 'cls_ratio') -> None:
        self.top_k = check_integer('OutlierSuppression top_k', top_k, 0)
        self.contamination_temp = check_number('OutlierSuppression contamination_temp', contamination_temp, 0, 1)
        self.detector = check_choice('OutlierSuppression detector', detector, tuple(DETECTORS))
        self.needs_attention = self.needs_cls = detector == 'cls_ratio'

    def __call__(self, features: DenseFeatures) -> DenseFeatures:
        """See ``PostProcessor``."""
        if self.needs_attention:
            attention_of(features, self)
        if self.top_k == 0 or features.patches.shape[1] == 1:
            return features
        outliers = outlier_mask(DETECTORS[self.detector](features.patches, features.attn), self.top_k)
        neighbours = grid_neighbours(features.grid_size, features.patches.device)
        return features.replace(
            patches=suppress_outliers(features.patches, outliers, neighbours, self.contamination_temp))
