"""Position embeddings for grids other than the pretrained one."""
from typing import Tuple

import torch
from torch import Tensor
from torch.nn import functional as F


def resize_position_embedding(embedding: Tensor, pretrained_grid: Tuple[int, int], grid_size: Tuple[int, int]) -> Tensor:
    """Bicubic interpolation of a ViT's trained position embeddings, as DINO and the methods of this field do it.

    Args:
        embedding: ``(1 + h0 * w0, D)``, the CLS token's first.
        pretrained_grid: ``(h0, w0)``.
        grid_size: The wanted ``(h, w)``.

    Returns:
        ``(1 + h * w, D)`` in the dtype of ``embedding``, interpolated in float32. The scale factors are
        ``(h + 0.1) / h0`` and ``(w + 0.1) / w0``: published labels depend on that guard against rounding.
    """
    if tuple(pretrained_grid) == tuple(grid_size):
        return embedding
    patches = embedding[1:].float().unflatten(0, tuple(pretrained_grid)).permute(2, 0, 1).unsqueeze(0)
    scale = [(new + 0.1) / old for new, old in zip(grid_size, pretrained_grid)]
    patches = F.interpolate(patches, scale_factor=scale, mode='bicubic', align_corners=False, recompute_scale_factor=False)
    return torch.cat([embedding[:1], patches[0].flatten(1).t().to(embedding.dtype)])
