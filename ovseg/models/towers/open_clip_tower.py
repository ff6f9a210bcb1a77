"""open_clip's ``VisionTransformer`` as an image tower."""
from typing import Any, Sequence, Tuple

import torch
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from ovseg.models.towers.image_tower import Grid, ImageTower
from ovseg.models.towers.position_embedding import resize_position_embedding


class OpenCLIPTower(ImageTower):
    """An open_clip ``VisionTransformer`` with a class token.

    It differs from the host model in this: position embeddings are interpolated to the image's grid, patch dropout is off,
    and no parameter requires a gradient.

    Args:
        visual: The image tower of an open_clip model.

    Raises:
        TypeError: the tower is of another kind.
    """

    visual: VisionTransformer
    has_cls = True

    def __init__(self, visual: Any) -> None:
        super().__init__()
        check_supported(visual)
        self.visual = visual
        self.patch_size = tuple(visual.patch_size)
        self.width, self.output_width = visual.proj.shape
        self.heads = self.blocks[-1].attn.num_heads
        self.freeze()

    @property
    def blocks(self) -> Sequence[ResidualAttentionBlock]:
        """See ``ImageTower``."""
        return self.visual.transformer.resblocks

    def embed(self, images: Tensor) -> Tuple[Tensor, Grid]:
        """See ``ImageTower``."""
        visual = self.visual
        patches = visual.conv1(images.to(visual.conv1.weight.dtype))
        grid_size = (patches.shape[2], patches.shape[3])
        patches = patches.flatten(2).transpose(1, 2)
        cls_token = visual.class_embedding.to(patches.dtype).expand(patches.shape[0], 1, -1)
        positions = resize_position_embedding(visual.positional_embedding, visual.grid_size, grid_size)
        return visual.ln_pre(torch.cat([cls_token, patches], dim=1) + positions.to(patches.dtype)), grid_size

    def qkv(self, block: ResidualAttentionBlock, x: Tensor, grid_size: Grid) -> Tuple[Tensor, Tensor, Tensor]:
        """See ``ImageTower``."""
        packed = F.linear(block.ln_1(x), block.attn.in_proj_weight, block.attn.in_proj_bias)
        q, k, v = packed.unflatten(-1, (3, block.attn.num_heads, -1)).permute(2, 0, 3, 1, 4)
        return q, k, v

    def join(self, block: ResidualAttentionBlock, values: Tensor) -> Tensor:
        """See ``ImageTower``; LayerScale included."""
        return block.ls_1(block.attn.out_proj(values.transpose(1, 2).flatten(2)))

    def mlp(self, block: ResidualAttentionBlock, x: Tensor) -> Tensor:
        """See ``ImageTower``; LayerScale included."""
        return block.ls_2(block.mlp(block.ln_2(x)))

    def project(self, x: Tensor) -> Tensor:
        """See ``ImageTower``."""
        return self.visual.ln_post(x) @ self.visual.proj

    def pool(self, x: Tensor) -> Tensor:
        """See ``ImageTower``: the CLS token's embedding."""
        return self.project(x[:, 0])


def check_supported(visual: nn.Module) -> None:
    """Refuse image towers that are not plain ViTs with a class token.

    Raises:
        TypeError: says what the tower is and what is needed.
    """
    needed = 'ovseg needs an open_clip VisionTransformer with a class token, e.g. ViT-B-16, ViT-L-14 or ViT-H-14'
    if not isinstance(visual, VisionTransformer):
        raise TypeError(f'the image tower is a {type(visual).__name__}; {needed}')
    if visual.attn_pool is not None:
        raise TypeError(f'the image tower pools by attention (CoCa); {needed}')
    if visual.pool_type != 'tok':
        raise TypeError(f'the image tower pools its patches (pool_type={visual.pool_type!r}); {needed}')
    if not all(isinstance(block, ResidualAttentionBlock) for block in visual.transformer.resblocks):
        raise TypeError(f'the image tower has {type(visual.transformer.resblocks[0]).__name__}s; {needed}')
