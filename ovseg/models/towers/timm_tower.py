"""open_clip's ``TimmModel`` with a ViT of timm as an image tower."""
from typing import Any, Sequence, Tuple

import torch
from open_clip.timm_model import TimmModel
from timm.layers import (
    Attention,
    AttentionPoolLatent,
    AttentionRope,
    RotaryEmbeddingCat,
    apply_rot_embed_cat,
    build_rotary_pos_embed,
    resample_abs_pos_embed,
)
from timm.models.eva import Eva, EvaAttention, EvaBlock, EvaBlockPostNorm
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from ovseg.models.towers.image_tower import Grid, ImageTower

BLOCKS = (Block, EvaBlock, EvaBlockPostNorm)
ATTENTION_LAYERS = (Attention, AttentionRope, EvaAttention)


class TimmTower(ImageTower):
    """A timm ViT in open_clip's ``TimmModel``: SigLIP, SigLIP2, PE-Core, EVA-CLIP, MobileCLIP-B and MobileCLIP2-L.

    It differs from the host model in this: position embeddings are those that timm computes with ``dynamic_img_size``, learnt
    ones by antialiased bicubic interpolation (not by ``resize_position_embedding``, which is for open_clip's own ViTs) and
    rotary ones for the image's grid; dropout and stochastic depth are off; and no parameter requires a gradient.

    Where an attention pool gives the image's embedding (SigLIP, PE-Core), the embedding of a token is the pool's output when
    it attends to that token alone, for PE-Core's CLS token too.

    Args:
        visual: The image tower of an open_clip model. It takes images of any size from now on.

    Raises:
        TypeError: the trunk is not such a ViT.
    """

    visual: TimmModel

    def __init__(self, visual: Any) -> None:
        super().__init__()
        check_trunk(visual.trunk)
        self.visual = visual
        trunk = visual.trunk
        trunk.patch_embed.strict_img_size = False
        self.patch_size = tuple(trunk.patch_embed.feat_ratio(as_scalar=False))
        self.has_cls = trunk.cls_token is not None
        self.width, self.heads = trunk.embed_dim, trunk.blocks[-1].attn.num_heads
        self.freeze()
        self.output_width = self.project(trunk.pos_embed.new_empty(0, self.width)).shape[-1]

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """See ``ImageTower``."""
        return self.visual.trunk.blocks

    def embed(self, images: Tensor) -> Tuple[Tensor, Grid]:
        """See ``ImageTower``."""
        trunk = self.visual.trunk
        rows, columns = grid_size = (images.shape[2] // self.patch_size[0], images.shape[3] // self.patch_size[1])
        images = images[:, :, :rows * self.patch_size[0], :columns * self.patch_size[1]]
        x = trunk.patch_embed(images.to(self.dtype))
        embedded = 0 if trunk.no_embed_class else int(self.has_cls)  # tokens in front of the patches that have a position
        positions = resample_abs_pos_embed(trunk.pos_embed, list(grid_size), list(trunk.patch_embed.grid_size), embedded)
        if self.has_cls:
            x = torch.cat([trunk.cls_token.expand(x.shape[0], -1, -1), x], dim=1)
        return trunk.norm_pre(x + F.pad(positions, (0, 0, int(self.has_cls) - embedded, 0))), grid_size

    def qkv(self, block: Any, x: Tensor, grid_size: Grid) -> Tuple[Tensor, Tensor, Tensor]:
        """See ``ImageTower``; qk-norm and rotary position embeddings included."""
        attn = block.attn
        x = x if isinstance(block, EvaBlockPostNorm) else block.norm1(x)
        q, k, v = (part.unflatten(-1, (attn.num_heads, -1)).transpose(1, 2) for part in _projections(attn, x))
        q, k = attn.q_norm(q), attn.k_norm(k)
        rope = getattr(self.visual.trunk, 'rope', None)
        if rope is not None:
            angles = _rotary_embedding(rope, grid_size, x.device)
            q, k = (_rotated(part, angles, int(self.has_cls)) for part in (q, k))
        return q, k, v

    def join(self, block: Any, values: Tensor) -> Tensor:
        """See ``ImageTower``; the norms behind the attention and LayerScale included."""
        return _scaled(block, 1, block.attn.proj(block.attn.norm(values.transpose(1, 2).flatten(2))))

    def mlp(self, block: Any, x: Tensor) -> Tensor:
        """See ``ImageTower``; the norm behind the MLP and LayerScale included."""
        return _scaled(block, 2, block.mlp(x if isinstance(block, EvaBlockPostNorm) else block.norm2(x)))

    def project(self, x: Tensor) -> Tensor:
        """See ``ImageTower``."""
        trunk = self.visual.trunk
        x = trunk.norm(x)
        if trunk.attn_pool is not None:
            x = _pooled_alone(trunk.attn_pool, x)
        return self.visual.head(trunk.head(trunk.fc_norm(x)))

    def pool(self, x: Tensor) -> Tensor:
        """See ``ImageTower``: the CLS token's embedding, or the attention pool's output."""
        trunk = self.visual.trunk
        return self.visual.head(trunk.forward_head(trunk.norm(x)))


def check_trunk(trunk: Any) -> None:
    """Refuse trunks of timm that are not ViTs with a patch grid and with a CLS token or an attention pool.

    Raises:
        TypeError: names the trunk, and says what is needed.
    """
    needed = ('ovseg needs a VisionTransformer or Eva whose image embedding comes from a CLS token or an attention pool, '
              'e.g. that of ViT-B-16-SigLIP, PE-Core-B-16, EVA02-B-16 or MobileCLIP-B')
    kind = type(trunk).__name__
    if not isinstance(trunk, (VisionTransformer, Eva)):
        raise TypeError(f'the image tower is a {kind} of timm; {needed}')
    pooled_by = trunk.global_pool if trunk.attn_pool is None else type(trunk.attn_pool).__name__
    if pooled_by not in ('token', AttentionPoolLatent.__name__):
        raise TypeError(f'the image tower is a {kind} of timm that pools its patches (pool {pooled_by!r}); {needed}')
    if trunk.num_prefix_tokens > 1 or trunk.pos_embed is None:
        raise TypeError(f'the image tower is a {kind} of timm with register tokens or without learnt positions; {needed}')
    for block in trunk.blocks:
        if not _is_known(block) or not isinstance(getattr(trunk, 'rope', None), (RotaryEmbeddingCat, type(None))):
            raise TypeError(f'the image tower is a {kind} of timm with a {type(block).__name__} of another kind '
                            f'({type(block.attn).__name__}); {needed}')


def _is_known(block: Any) -> bool:
    """Return True if the adapter computes what the block does."""
    if type(block) not in BLOCKS or type(block.attn) not in ATTENTION_LAYERS:
        return False
    gate, groups = getattr(block.attn, 'gate', None), getattr(block.attn, 'num_kv_groups', 1)
    return gate is None and groups == 1 and not getattr(block.attn, 'rotate_half', False)


def _projections(attn: Any, x: Tensor) -> Sequence[Tensor]:
    """Queries, keys and values ``(B, T, H * d)``."""
    if getattr(attn, 'q_proj', None) is not None:
        return attn.q_proj(x), attn.k_proj(x), attn.v_proj(x)
    if getattr(attn, 'q_bias', None) is not None:
        return F.linear(x, attn.qkv.weight, torch.cat([attn.q_bias, attn.k_bias, attn.v_bias])).chunk(3, dim=-1)
    return attn.qkv(x).chunk(3, dim=-1)


def _rotary_embedding(rope: RotaryEmbeddingCat, grid_size: Grid, device: torch.device) -> Tensor:
    """Sines and cosines ``(N, 2 * d)`` of a grid; ``rope`` itself holds those of the pretrained grid only."""
    return torch.cat(build_rotary_pos_embed(
        list(grid_size), dim=rope.dim, temperature=rope.temperature, in_pixels=False, ref_feat_shape=rope.ref_feat_shape,
        grid_offset=rope.grid_offset, grid_indexing=rope.grid_indexing, device=device), dim=-1)


def _rotated(x: Tensor, angles: Tensor, first: int) -> Tensor:
    """``x (B, H, T, d)`` with its tokens from ``first`` on rotated."""
    return torch.cat([x[:, :, :first], apply_rot_embed_cat(x[:, :, first:], angles).to(x.dtype)], dim=2)


def _scaled(block: Any, branch: int, x: Tensor) -> Tensor:
    """The output of the attention (branch 1) or the MLP (branch 2) as the block adds it to its input."""
    if isinstance(block, EvaBlockPostNorm):
        return getattr(block, f'norm{branch}')(x)
    if isinstance(block, EvaBlock):
        gamma = getattr(block, f'gamma_{branch}')
        return x if gamma is None else gamma * x
    return getattr(block, f'ls{branch}')(x)


def _pooled_alone(pool: Any, x: Tensor) -> Tensor:
    """Outputs ``(..., D)`` of an attention pool for tokens ``(..., D)``, each of which it attends to alone.

    The softmax over one key is 1, so that neither queries nor keys matter.
    """
    x = pool.proj(pool.kv(x).chunk(2, dim=-1)[1])
    return x + pool.mlp(pool.norm(x))
