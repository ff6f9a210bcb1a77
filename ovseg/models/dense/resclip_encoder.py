"""ResCLIP: attention of middle blocks, and feedback of a first segmentation, in the last block (Yang et al., 2025)."""
from typing import Optional, Sequence, Tuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ovseg.models.attention.logits import product
from ovseg.models.attention.naclip import gaussian_window
from ovseg.models.dense.dense_encoder import DenseEncoder, WindowBatch, check_layers
from ovseg.models.dense.last_block_encoder import original_attention, original_cls
from ovseg.models.dense.segmentation_feedback import connection_map, segmented_patches
from ovseg.models.dense_features import DenseFeatures
from ovseg.models.towers.image_tower import Grid, ImageTower
from ovseg.precision import full_precision
from ovseg.registry import DENSE_ENCODERS
from ovseg.utils import check_integer, check_number, shown


def run_with_map(tower: ImageTower, block: nn.Module, x: Tensor, grid_size: Grid) -> Tuple[Tensor, Tensor]:
    """A block's output ``(B, T, D)``, and the softmax weights of each of its heads ``(B, H, T, T)`` float32."""
    q, k, v = tower.qkv(block, x, grid_size)
    weights = product(q, k).softmax(dim=-1, dtype=torch.float32)
    z = x + tower.join(block, weights.to(v.dtype) @ v)
    return z + tower.mlp(block, z), weights


def neighbour_attention(k: Tensor, v: Tensor, grid_size: Grid, gaussian_std: float, connections: Optional[Tensor] = None,
                        weights: Tuple[float, float] = (1.0, 0.0)) -> Tensor:
    """``softmax(τ [(1 - λ) KKᵀ + λ A] + ω) V`` with NACLIP's Gaussian ω of the patches' distance.

    Args:
        k: Keys ``(B, H, 1+N, d)``.
        v: Values.
        grid_size: Rows and columns of the patches.
        gaussian_std: Of ω, in patches.
        connections: A, ``(B, N, N)``; None for 0. Row and column of the CLS token are 0 in A and ω.
        weights: τ and λ.
    """
    scale, share = weights
    bias = gaussian_window(grid_size, gaussian_std, k.device)
    if connections is not None:
        bias = (scale * share * connections + bias).unsqueeze(1)
    return F.scaled_dot_product_attention(scale * (1 - share) * k, k, v, F.pad(bias, (1, 0, 1, 0)).to(k.dtype))


@DENSE_ENCODERS.register_module()
class ResCLIPEncoder(DenseEncoder):
    """ResCLIP on NACLIP's attention, see ``docs/methods.md`` for the formulas. Blocks are counted from 1.

    The CLS token is that of the unmodified CLIP, and so is the attention that post-processors use.

    Args:
        temp_thd: Pixels of the first segmentation whose probability is smaller go to the first text embedding; in [0, 1].
        sfr_weights: τ and λ of the feedback (SFR), the connections of patches in the first segmentation; None leaves it out.
        rcs_weights: τ and λ of the attention of the middle blocks (RCS).
        rcs_layers: The first and the last of these blocks.
        gaussian_std: Of NACLIP's window and of the smoothing of the connections, in patches.
        logit_scale: Multiplies the scores of the first segmentation in front of its softmax.
        memory_mb: Bound for the dense scores of the first segmentation held at a time; more is slower on a CPU, whose caches it
            exceeds.
        precision: ``'fp32'``, ``'fp16'`` or ``'bf16'``: what the image tower computes in.

    Raises:
        ValueError: a number out of range.
    """

    def __init__(self, temp_thd: float = 0.25, sfr_weights: Optional[Sequence[float]] = (2.1, 0.7),
                 rcs_weights: Sequence[float] = (2.0, 0.3), rcs_layers: Sequence[int] = (6, 9), gaussian_std: float = 5.0,
                 logit_scale: float = 40, memory_mb: float = 64, precision: str = 'fp32') -> None:
        super().__init__()
        self.temp_thd = check_number('image_encoder.temp_thd', temp_thd, 0, 1)
        self.sfr_weights = None if sfr_weights is None else _checked_weights('sfr_weights', sfr_weights)
        self.rcs_weights = _checked_weights('rcs_weights', rcs_weights)
        self.rcs_layers = check_layers('image_encoder.rcs_layers', rcs_layers)
        self.gaussian_std = check_number('image_encoder.gaussian_std', gaussian_std, above=True)
        self.logit_scale = check_number('image_encoder.logit_scale', logit_scale, above=True)
        self.memory_mb = check_number('image_encoder.memory_mb', memory_mb, above=True)
        self.needs_texts = self.sfr_weights is not None
        self.precision = precision
        _ = self.dtype
        self.freeze()

    def check(self, tower: ImageTower) -> None:
        """See ``DenseEncoder``."""
        if not tower.has_cls:
            raise ValueError('image_encoder: ResCLIPEncoder needs a CLIP with a CLS token')
        check_integer('image_encoder.rcs_layers', self.rcs_layers[1], 1, tower.depth - 1, f'the CLIP has {tower.depth} blocks')

    def tokens(self, tower: ImageTower, batch: WindowBatch, with_attention: bool = False) -> DenseFeatures:
        """See ``DenseEncoder``."""
        x, grid_size = tower.embed(batch.images)
        *blocks, last = tower.blocks
        total = torch.zeros((), device=x.device)
        for layer, block in enumerate(blocks, start=1):
            if self.rcs_layers[0] <= layer <= self.rcs_layers[1]:
                x, weights = run_with_map(tower, block, x, grid_size)
                total = total + weights
            else:
                x = tower.run(block, x, grid_size)
        q, k, v = tower.qkv(last, x, grid_size)
        residual = total.to(v.dtype) @ v / (self.rcs_layers[1] - self.rcs_layers[0] + 1)
        modified = self.modified_tokens(tower, neighbour_attention(k, v, grid_size, self.gaussian_std), residual)
        if self.sfr_weights is not None:
            connections = self.connections(tower, batch, modified[:, 1:], grid_size)
            values = neighbour_attention(k, v, grid_size, self.gaussian_std, connections, self.sfr_weights)
            modified = self.modified_tokens(tower, values, residual)
        attn = original_attention(q, k) if with_attention else None
        return DenseFeatures(modified[:, 1:], original_cls(tower, last, x, q, k, v), attn, grid_size)

    def modified_tokens(self, tower: ImageTower, values: Tensor, residual: Tensor) -> Tensor:
        """``out_proj(τ [(1 - λ) values + λ residual])``, ``(B, T, D)``.

        Args:
            tower: The image tower.
            values: Result of ``neighbour_attention``, ``(B, H, T, d)``.
            residual: Values averaged with the attention of the middle blocks, ``(B, H, T, d)``.
        """
        scale, share = self.rcs_weights
        return tower.join(tower.blocks[-1], scale * ((1 - share) * values + share * residual))

    def connections(self, tower: ImageTower, batch: WindowBatch, patches: Tensor, grid_size: Grid) -> Tensor:
        """``connection_map`` ``(B, N, N)`` of the first segmentation, that of ``patches (B, N, D)``.

        Raises:
            ValueError: the batch has no text embeddings.
        """
        if batch.texts is None or batch.texts.embeddings is None:
            raise ValueError('the batch has no text embeddings, which the feedback of ResCLIPEncoder reads (sfr_weights=None '
                             'switches it off)')
        embeddings = tower.project(patches).float()  # in the tower's precision, and that of autocast
        with full_precision(patches):
            scores = F.normalize(embeddings, dim=-1) @ batch.texts.embeddings.float().t()
            labels = segmented_patches(batch.images, scores, grid_size, tower.patch_size, self.logit_scale, self.temp_thd,
                                       self.memory_mb)
            return connection_map(labels, grid_size, self.gaussian_std)


def _checked_weights(name: str, weights: Sequence[float]) -> Tuple[float, float]:
    key = f'image_encoder.{name}'
    if not isinstance(weights, (list, tuple)) or len(weights) != 2:
        raise ValueError(f'{key}={shown(weights)} must be two numbers: a factor, and a share in [0, 1]')
    return check_number(f'{key}[0]', weights[0], above=True), check_number(f'{key}[1]', weights[1], 0, 1)
