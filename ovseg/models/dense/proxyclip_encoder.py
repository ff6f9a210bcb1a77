"""ProxyCLIP: the values of CLIP's last block, attended by the features of a guide."""
import math
from typing import Any, Tuple

import torch
from torch import Tensor

from ovseg.models.dense.dense_encoder import DenseEncoder, WindowBatch
from ovseg.models.dense.guided import DINO, cosine_map, join_values, penultimate, some_windows_at_a_time, values_on_grid
from ovseg.models.dense.last_block_encoder import original_cls
from ovseg.models.dense_features import DenseFeatures
from ovseg.models.guides.guide import Guide, build_guide
from ovseg.models.towers.image_tower import ImageTower
from ovseg.registry import DENSE_ENCODERS
from ovseg.utils import check_number


@DENSE_ENCODERS.register_module()
class ProxyCLIPEncoder(DenseEncoder):
    """Proxy attention of a guide in place of the last block's own (Lan et al., ProxyCLIP, ECCV 2024, arXiv 2408.04883).

    The values of the last block are interpolated to the guide's grid, averaged with ``proxy_attention``, and joined, without
    residual and MLP. The result has the guide's grid. Its CLS token is that of the unmodified CLIP.

    Args:
        guide: The guide, see ``build_guide``; default: DINO ViT-B/8, its final tokens.
        beta: Share of the mean similarity that is subtracted from all similarities.
        gamma: Factor of the differences.
        precision: ``'fp32'``, ``'fp16'`` or ``'bf16'``: what the image tower computes in.

    Raises:
        ValueError: an unknown guide or name, or a number out of range.
    """

    gives_attention = False  # CLIP's own stands on another grid than the result

    def __init__(self, guide: Any = DINO, beta: float = 1.2, gamma: float = 3.0, precision: str = 'fp32') -> None:
        super().__init__()
        self.guide: Guide = build_guide('image_encoder.guide', guide)
        self.beta = check_number('image_encoder.beta', beta, -math.inf)
        self.gamma = check_number('image_encoder.gamma', gamma, above=True)
        self.precision = precision
        _ = self.dtype
        self.freeze()

    def check(self, tower: ImageTower) -> None:
        """See ``DenseEncoder``; every tower will do."""

    def patch_size(self, tower: ImageTower) -> Tuple[int, int]:
        """See ``DenseEncoder``: that of the guide."""
        return self.guide.patch_size or tower.patch_size

    def tokens(self, tower: ImageTower, batch: WindowBatch, with_attention: bool = False) -> DenseFeatures:
        """See ``DenseEncoder``."""
        patches, grid_size = batch.guide(self.guide)
        x, own_grid = penultimate(tower, batch.images)
        last = tower.blocks[-1]
        q, k, v = tower.qkv(last, x, own_grid)
        attended = some_windows_at_a_time(self._attended, patches.shape[1], patches, values_on_grid(v, own_grid, grid_size))
        cls_token = original_cls(tower, last, x, q, k, v) if tower.has_cls else None
        return DenseFeatures(join_values(tower, last, attended), cls_token, None, grid_size)

    def _attended(self, patches: Tensor, values: Tensor) -> Tensor:
        return proxy_attention(patches, self.beta, self.gamma).to(values.dtype) @ values


def proxy_attention(features: Tensor, beta: float, gamma: float) -> Tensor:
    """Attention by the cosine similarity S of patches, with a threshold that adapts to each window.

    ``softmax(γ (S - β mean(S)))`` over the entries that are not negative. A patch keeps its own entry in any case: where the
    mean similarity exceeds 1 / β, or for a zero vector, there may be no other.

    Args:
        features: ``(B, N, C)``.
        beta: β.
        gamma: γ.

    Returns:
        ``(B, N, N)`` float32; rows sum to 1.
    """
    logits = cosine_map(features)
    logits.sub_(beta * logits.mean(dim=(1, 2), keepdim=True)).mul_(gamma)
    own = logits.diagonal(dim1=1, dim2=2).clone()
    logits.masked_fill_(logits < 0, -torch.inf)
    logits.diagonal(dim1=1, dim2=2).copy_(own)
    return logits.softmax(dim=-1)
