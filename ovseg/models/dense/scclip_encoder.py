"""SC-CLIP: outlier repair, and patches aggregated by the similarity of middle blocks (Bai et al., 2024)."""
from typing import Dict, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ovseg.models.attention import similarity_map
from ovseg.models.dense.dense_encoder import DenseEncoder, WindowBatch, check_layers
from ovseg.models.dense.last_block_encoder import original_attention, original_cls
from ovseg.models.dense_features import DenseFeatures
from ovseg.models.post_processors.outlier_detectors import nearest_patches
from ovseg.models.post_processors.outlier_suppression import grid_neighbours
from ovseg.models.towers.image_tower import Grid, ImageTower
from ovseg.precision import full_precision
from ovseg.registry import DENSE_ENCODERS
from ovseg.utils import check_integer, check_number

SHARPNESS = 3.0  # of the softmax over similarities
TIE = 1e-5  # relative; if all patches are neighbours, the two farthest have the same factor but for rounding


def outlier_factor(patches: Tensor, neighbours: int) -> Tensor:
    """Local outlier factor as SC-CLIP computes it: ``mean over neighbours j of i of d_k(i) / d_k(j)``.

    ``d_k`` is the squared distance of a patch from its k-th neighbour. The reachability distance of i from its neighbour j is
    the larger of their distance and ``d_k(j)`` in the textbook, and the larger of their distance and ``d_k(i)`` in SC-CLIP. The
    latter is always ``d_k(i)``, so that the density of a patch is ``1 / d_k(i)``.

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
    radius = near[..., -1].square().clamp_min(1e-12)  # 0 where as many patches are equal
    return radius * radius.reciprocal().unsqueeze(1).expand(-1, count, -1).gather(2, index).mean(dim=-1)


def find_outliers(patches: Tensor, neighbours: int, contamination: float) -> Tensor:
    """``(B, N)`` bool: patches ``(B, N, D)`` whose factor is above the quantile ``1 - contamination`` of their window."""
    factor = outlier_factor(patches, neighbours)
    return factor > (1 + TIE) * factor.quantile(1 - contamination, dim=1, keepdim=True)


def repair(patches: Tensor, outliers: Tensor, grid_size: Grid) -> Tensor:
    """Replace outliers by the mean of their neighbours in 3 x 3 patches that are none; one without such neighbours stays.

    Args:
        patches: ``(B, N, D)``.
        outliers: ``(B, N)`` bool.
        grid_size: Rows and columns.

    Returns:
        ``(B, N, D)``; the other patches are bit-identical.
    """
    weights = (grid_neighbours(grid_size, patches.device) & ~outliers.unsqueeze(1)).to(patches.dtype)
    count = weights.sum(dim=-1, keepdim=True)
    return torch.where(outliers.unsqueeze(-1) & (count > 0), weights @ patches / count.clamp_min(1), patches)


def aggregation(similarity: Tensor, beta: float) -> Tensor:
    """Weights ``(B, N, N)`` of similarities ``(B, N, N)``: those under ``beta`` are 0, rows sum to 1."""
    weights = similarity.masked_fill(similarity < beta, 0)
    return weights / (weights.sum(dim=-1, keepdim=True) + 1e-6)


def similarity_weights(similarity: Tensor) -> Tensor:
    """``softmax(3 (S - mean S))`` over those above the mean of their window; ``S (B, N, N)``."""
    logits = SHARPNESS * (similarity - similarity.mean(dim=(1, 2), keepdim=True))
    itself = torch.eye(logits.shape[-1], dtype=torch.bool, device=logits.device)
    below = (logits < 0) & ~itself  # cos(x, x) is not below the mean, but it may be rounded so
    return logits.masked_fill_(below, -torch.inf).softmax(dim=-1)


def self_correlating_attention(tower: ImageTower, block: nn.Module, x: Tensor, weights: Tensor, grid_size: Grid) -> Tensor:
    """Update ``out_proj(½ [weights + softmax(KKᵀ)] V)`` of the patches by a block, the CLS token left out.

    Args:
        tower: The image tower.
        block: The block.
        x: Tokens ``(B, 1+N, D)``.
        weights: ``similarity_weights``, the same for all heads, ``(B, N, N)``.
        grid_size: Rows and columns of the patches.

    Returns:
        ``(B, N, D)``.
    """
    _, k, v = (part[:, :, 1:] for part in tower.qkv(block, x, grid_size))
    by_keys = F.scaled_dot_product_attention(k, k, v)
    by_similarity = weights.to(v.dtype).unsqueeze(1) @ v
    return tower.join(block, (by_keys + by_similarity) / 2)


@DENSE_ENCODERS.register_module()
class SCCLIPEncoder(DenseEncoder):
    """Self-calibrated CLIP, see ``docs/methods.md`` for the formulas. Blocks are counted from 1.

    The CLS token is that of the unmodified CLIP, and so is the attention that post-processors use.

    Args:
        pre_layer: The block whose similarity aggregates the input of the last block, and is half of its attention.
        post_layer: The block whose similarity aggregates its output.
        levels: The first and the last of the blocks whose summed outputs take the same way, and are added.
        beta: Similarities under it count as 0.
        cls_weight: Adds this times the CLS token to the output of the last block.
        neighbours: Neighbours of a patch in the outlier factor.
        contamination: Share of the patches that are outliers.
        precision: ``'fp32'``, ``'fp16'`` or ``'bf16'``: what the image tower computes in.

    Raises:
        ValueError: a number out of range.
    """

    def __init__(self, pre_layer: int = 9, post_layer: int = 4, levels: Sequence[int] = (4, 10), beta: float = 0.4,
                 cls_weight: float = 0.3, neighbours: int = 30, contamination: float = 0.05, precision: str = 'fp32') -> None:
        super().__init__()
        self.pre_layer = check_integer('image_encoder.pre_layer', pre_layer, 1)
        self.post_layer = check_integer('image_encoder.post_layer', post_layer, 1)
        self.levels = check_layers('image_encoder.levels', levels)
        self.beta = check_number('image_encoder.beta', beta, -1, 1)
        self.cls_weight = check_number('image_encoder.cls_weight', cls_weight, 0)
        self.neighbours = check_integer('image_encoder.neighbours', neighbours, 1)
        self.contamination = check_number('image_encoder.contamination', contamination, 0, 1)
        self.precision = precision
        _ = self.dtype
        self.freeze()

    def check(self, tower: ImageTower) -> None:
        """See ``DenseEncoder``."""
        if not tower.has_cls:
            raise ValueError('image_encoder: SCCLIPEncoder needs a CLIP with a CLS token')
        for key, layer in (('pre_layer', self.pre_layer), ('post_layer', self.post_layer), ('levels', self.levels[1])):
            check_integer(f'image_encoder.{key}', layer, 1, tower.depth - 1, f'the CLIP has {tower.depth} blocks')

    def tokens(self, tower: ImageTower, batch: WindowBatch, with_attention: bool = False) -> DenseFeatures:
        """See ``DenseEncoder``."""
        x, grid_size = tower.embed(batch.images)
        *blocks, last = tower.blocks
        total = torch.zeros_like(x)
        kept: Dict[int, Tensor] = {}
        for layer, block in enumerate(blocks, start=1):
            x = tower.run(block, x, grid_size)
            if self.levels[0] <= layer <= self.levels[1]:
                total += x
            if layer in (self.pre_layer, self.post_layer):
                kept[layer] = x[:, 1:]
        cls_token, patches = x[:, :1], x[:, 1:]
        with full_precision(x):
            outliers = find_outliers(patches, self.neighbours, self.contamination)
            similarity = similarity_map(repair(kept[self.pre_layer], outliers, grid_size).float())
            weights, pre = similarity_weights(similarity), aggregation(similarity, self.beta).to(x.dtype)
            post = aggregation(similarity_map(kept[self.post_layer].float()), self.beta).to(x.dtype)
        adjusted = torch.cat([cls_token, pre @ repair(patches, outliers, grid_size)], dim=1)
        both = self_correlating_attention(tower, last, torch.cat([adjusted, total]), weights.repeat(2, 1, 1), grid_size)
        single, levels = both.unflatten(0, (2, -1))
        result = post @ (single + levels + self.cls_weight * (cls_token + total[:, :1]))
        q, k, v = tower.qkv(last, x, grid_size)
        attn = original_attention(q, k) if with_attention else None
        return DenseFeatures(result, original_cls(tower, last, x, q, k, v), attn, grid_size)
