"""The interface of a frozen ViT that dense encoders work with."""
from abc import ABC, abstractmethod
from typing import Sequence, Tuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ovseg.models.frozen import FrozenModule

Grid = Tuple[int, int]


class ImageTower(FrozenModule, ABC):
    """A frozen ViT whose blocks can be run one by one, and the last of them in parts.

    ``T`` is the number of tokens: ``N`` patches, row by row, and the CLS token at index 0 where there is one.

    Attributes:
        patch_size: Height and width of a patch in pixels.
        width: Size D of a token.
        output_width: Size E of an embedding.
        heads: Number of heads of a block's attention.
        has_cls: Whether there is a CLS token.
        blocks: The transformer's blocks in order; ``run`` applies one of them.
    """

    patch_size: Tuple[int, int]
    width: int
    output_width: int
    heads: int
    has_cls: bool

    @property
    @abstractmethod
    def blocks(self) -> Sequence[nn.Module]:
        """The transformer's blocks."""

    @property
    def depth(self) -> int:
        """Number of blocks L."""
        return len(self.blocks)

    @property
    def dtype(self) -> torch.dtype:
        """The type that the tower computes in."""
        return next(self.parameters()).dtype

    @abstractmethod
    def embed(self, images: Tensor) -> Tuple[Tensor, Grid]:
        """The input of the first block.

        Args:
            images: Normalised images ``(B, 3, H, W)``; what exceeds a multiple of the patch is ignored.

        Returns:
            Tokens ``(B, T, D)`` with position embeddings for their grid, and the grid's rows and columns.
        """

    @abstractmethod
    def qkv(self, block: nn.Module, x: Tensor, grid_size: Grid) -> Tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values ``(B, H, T, d)`` of a block's input, as its softmax attention takes them.

        Args:
            block: One of ``blocks``.
            x: Its input ``(B, T, D)``.
            grid_size: Rows and columns of the patches, which rotary position embeddings depend on.
        """

    @abstractmethod
    def join(self, block: nn.Module, values: Tensor) -> Tensor:
        """Update of the residual stream ``(B, T, D)`` by the heads' attended values ``(B, H, T, d)``."""

    @abstractmethod
    def mlp(self, block: nn.Module, x: Tensor) -> Tensor:
        """Update of the residual stream ``x (B, T, D)`` by the block's MLP."""

    @abstractmethod
    def project(self, x: Tensor) -> Tensor:
        """Embeddings ``(..., E)`` of tokens ``(..., D)`` that leave the last block, each by itself."""

    @abstractmethod
    def pool(self, x: Tensor) -> Tensor:
        """The embedding ``(B, E)`` of the whole image from the tokens ``(B, T, D)`` that leave the last block."""

    def run(self, block: nn.Module, x: Tensor, grid_size: Grid) -> Tensor:
        """The block's output ``(B, T, D)``; see ``qkv`` for the arguments."""
        q, k, v = self.qkv(block, x, grid_size)
        z = x + self.join(block, F.scaled_dot_product_attention(q, k, v))
        return z + self.mlp(block, z)

    def pooled(self, images: Tensor) -> Tensor:
        """The model's own embeddings ``(B, E)`` of normalised images ``(B, 3, H, W)``, not divided by their length."""
        x, grid_size = self.embed(images)
        for block in self.blocks:
            x = self.run(block, x, grid_size)
        return self.pool(x)
