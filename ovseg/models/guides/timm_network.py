"""timm's vision transformers as the networks of guides."""
from typing import Any, Dict, Optional, Sequence, Tuple

import torch
from timm.models import eva, vision_transformer, vision_transformer_sam
from torch import Tensor, nn
from torch.nn import functional as F

from ovseg.models.frozen import FrozenModule
from ovseg.models.towers.position_embedding import resize_position_embedding

# By the name of timm's module; the others of timm have no grid of patches or other blocks.
FAMILIES = dict(vision_transformer=vision_transformer.VisionTransformer, eva=eva.Eva,
                vision_transformer_sam=vision_transformer_sam.VisionTransformerSAM)
BLOCKS = (vision_transformer.Block, eva.EvaBlock, vision_transformer_sam.Block)  # norm1 stands in front of their attention


class TimmNetwork(FrozenModule):
    """A timm ViT that gives patch features of RGB windows.

    Its output is timm's ``forward_features`` without prefix tokens; but a DINO checkpoint's position embeddings are
    interpolated as DINO does it. Queries, keys and values are what the last block's linear layer gives, in front of norms of
    heads and rotary position embeddings; the last block is not run for them.

    Args:
        model: The timm model, of ``FAMILIES``, with dynamic image size where there is the choice; it is taken apart.
        features: See ``TimmGuide``.
        dtype: What it computes in.
    """

    mean: Tensor
    std: Tensor

    last_block: Optional[nn.Module]

    def __init__(self, model: Any, features: str, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.features, self.patch_size = features, tuple(model.patch_embed.patch_size)
        self.prefix_tokens = getattr(model, 'num_prefix_tokens', 0)
        self.is_dino = model.pretrained_cfg.get('tag') == 'dino'
        for name in ('mean', 'std'):  # in float32 whatever the type of the model
            self.register_buffer(name, torch.tensor(model.pretrained_cfg[name]).view(3, 1, 1), persistent=False)
        self.model, self.last_block = model.to(dtype), None
        if getattr(model, 'rope', None) is not None:
            model.rope.float()  # rotary angles of half precision would be wrong
        if features != 'tokens':
            self.last_block, model.blocks = model.blocks[-1], model.blocks[:-1]
            setattr(model, 'neck' if hasattr(model, 'neck') else 'norm', nn.Identity())
        self.freeze()

    def forward(self, rgb: Tensor) -> Tuple[Tensor, Tuple[int, int]]:
        """Patch features ``(B, N', C)`` and their grid, of windows ``(B, 3, h, w)`` in [0, 1].

        Raises:
            ValueError: the windows are no multiple of the patch.
        """
        rows, columns = (size // patch for size, patch in zip(rgb.shape[2:], self.patch_size))
        if (rows * self.patch_size[0], columns * self.patch_size[1]) != tuple(rgb.shape[2:]):
            raise ValueError(f"windows of {rgb.shape[2]} x {rgb.shape[3]} pixels are no multiple of the guide's patch of "
                             f"{self.patch_size[0]} x {self.patch_size[1]}: use windows.pad_mode='center', or another crop")
        images = ((rgb - self.mean) / self.std).to(self.model.patch_embed.proj.weight.dtype)
        x = dino_features(self.model, images) if self.is_dino else self.model.forward_features(images)
        patches = x.flatten(2).transpose(1, 2) if x.ndim == 4 else x[:, self.prefix_tokens:]  # SAM's encoder gives maps
        if self.last_block is not None:
            heads = project_qkv(self.last_block, patches)
            patches = torch.stack([heads[letter] for letter in self.features]).sum(dim=0)
        return patches, (rows, columns)


def dino_features(model: Any, images: Tensor) -> Tensor:
    """``model.forward_features(images)`` with position embeddings resized as DINO does it.

    Args:
        model: timm's ``VisionTransformer`` with one prefix token.
        images: Normalised, ``(B, 3, h, w)``.
    """
    patches = model.patch_embed(images)
    positions = resize_position_embedding(model.pos_embed[0], model.patch_embed.grid_size, tuple(patches.shape[1:3]))
    x = torch.cat([model.cls_token.expand(len(images), -1, -1), patches.flatten(1, 2)], dim=1) + positions
    return model.norm(model.blocks(model.norm_pre(x)))


def project_qkv(block: Any, x: Tensor) -> Dict[str, Tensor]:
    """``q, k, v`` of a block's input ``x (B, N, D)``, ``(B, N, D)`` each: the heads side by side."""
    attention, x = block.attn, block.norm1(x)
    projected: Sequence[Tensor]
    if attention.qkv is None:
        projected = (attention.q_proj(x), attention.k_proj(x), attention.v_proj(x))
    elif getattr(attention, 'q_bias', None) is not None:  # EVA has no bias of keys
        bias = torch.cat([attention.q_bias, attention.k_bias, attention.v_bias])
        projected = F.linear(x, attention.qkv.weight, bias).chunk(3, dim=-1)
    else:
        projected = attention.qkv(x).chunk(3, dim=-1)
    return dict(zip('qkv', projected))
