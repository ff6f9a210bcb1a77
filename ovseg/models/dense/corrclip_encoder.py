"""CorrCLIP: attention inside merged regions, by the similarity of a guide, in three branches."""
from typing import Any, List, Optional, Tuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ovseg.models.dense.dense_encoder import DenseEncoder, WindowBatch, project
from ovseg.models.dense.guided import DINO, join_values, some_windows_at_a_time, values_on_grid
from ovseg.models.dense.last_block_encoder import original_cls
from ovseg.models.dense.region_scope import merge_regions, rank, scope_attention
from ovseg.models.dense_features import DenseFeatures
from ovseg.models.guides.guide import Guide, build_guide
from ovseg.models.regions.regions import build_regions, resize_regions
from ovseg.models.towers.image_tower import Grid, ImageTower
from ovseg.registry import DENSE_ENCODERS
from ovseg.utils import check_integer, check_number

DINO_QK = dict(DINO, features='qk')
SPATIAL_LAYERS = {12: 5, 24: 12, 32: 28}  # by the number of blocks; others: L - 4


@DENSE_ENCODERS.register_module()
class CorrCLIPEncoder(DenseEncoder):
    """Reconstructed patch correlations (Zhang et al., CorrCLIP, ICCV 2025, arXiv 2411.10086; version 1).

    Patches attend to patches of the same region, once similar regions are merged, with weights of the guide's similarity. Three
    branches stand side by side in the features of width 3 D, on the guide's grid:

    - main: values of the last block's input, attended and joined, without residual and MLP;
    - spatial: the same of the mean output of earlier blocks;
    - semantic: for each region a copy of the CLS token that attends to the CLS token and the region's patches in all blocks, at
      all patches of the region.

    ``project`` adds their embeddings. The CLS token is that of the unmodified CLIP. At the end, all pixels of a region get the
    label that most of them have.

    The smallest number in a window, usually 0, means no region, as in the released code: these patches are merged with none,
    and for pairs with one of them the scope is a similarity above the mean of the window.

    Args:
        regions: The source of region maps, see ``build_regions``.
        guide: The guide, see ``build_guide``; default: DINO ViT-B/8, the sum of its last queries and keys.
        eps: Regions are merged if the cosine similarity of their mean features is at most this much under the largest one.
        temperature: Multiplies similarities in front of the softmax.
        spatial_layers: Number N of blocks of the spatial branch, L - 1 - N to L - 2, 1-based. Default: 5 of 12 blocks, 12 of
            24, 28 of 32, else L - 4, at least 1.
        spatial_weight: Weight of the spatial branch.
        semantic_weight: Weight of the semantic branch.
        precision: ``'fp32'``, ``'fp16'`` or ``'bf16'``: what the image tower computes in.

    Raises:
        ValueError: an unknown guide, source or name, or a number out of range.
    """

    gives_attention = False  # CLIP's own stands on another grid than the result
    region_vote = True

    def __init__(self, regions: Any, guide: Any = DINO_QK, eps: float = 0.2, temperature: float = 4.0,
                 spatial_layers: Optional[int] = None, spatial_weight: float = 1.0, semantic_weight: float = 0.5,
                 precision: str = 'fp32') -> None:
        super().__init__()
        self.guide: Guide = build_guide('image_encoder.guide', guide)
        self.regions = build_regions('image_encoder.regions', regions)
        self.eps = check_number('image_encoder.eps', eps)
        self.temperature = check_number('image_encoder.temperature', temperature, above=True)
        if spatial_layers is not None:
            check_integer('image_encoder.spatial_layers', spatial_layers, 1)
        self.spatial_layers = spatial_layers
        self.spatial_weight = check_number('image_encoder.spatial_weight', spatial_weight)
        self.semantic_weight = check_number('image_encoder.semantic_weight', semantic_weight)
        self.precision = precision
        _ = self.dtype
        self.freeze()

    def check(self, tower: ImageTower) -> None:
        """See ``DenseEncoder``."""
        if not tower.has_cls:
            raise ValueError('image_encoder: CorrCLIPEncoder needs a CLIP with a CLS token, and this one has none')
        check_integer('image_encoder.spatial_layers', self._spatial_layers(tower), 1, tower.depth - 2,
                      f'the CLIP has {tower.depth} blocks')

    def patch_size(self, tower: ImageTower) -> Tuple[int, int]:
        """See ``DenseEncoder``: that of the guide."""
        return self.guide.patch_size or tower.patch_size

    def tokens(self, tower: ImageTower, batch: WindowBatch, with_attention: bool = False) -> DenseFeatures:
        """See ``DenseEncoder``; patch features have the width 3 D."""
        if batch.regions is None:
            raise ValueError('CorrCLIPEncoder needs the regions of the windows, and the batch holds none')
        features, grid_size = batch.guide(self.guide)
        scope = merge_regions(features, rank(resize_regions(batch.regions, grid_size).flatten(1)), self.eps)
        x, own_grid = tower.embed(batch.images)
        own_scope = rank(resize_regions(scope.unflatten(1, grid_size), own_grid).flatten(1))
        x, spatial, copies, sees = self._blocks(tower, x, own_grid, own_scope)
        last = tower.blocks[-1]
        q, k, v = tower.qkv(last, x, own_grid)
        values = [values_on_grid(each, own_grid, grid_size) for each in (v, tower.qkv(last, spatial, own_grid)[2])]
        attended = some_windows_at_a_time(self._attended, features.shape[1], features, scope, torch.cat(values, dim=-1))
        copies = attend_copies(tower, last, copies, k, v, sees)
        places = resize_regions(own_scope.unflatten(1, own_grid), grid_size).flatten(1)
        semantic = copies.gather(1, places.unsqueeze(-1).expand(-1, -1, copies.shape[-1]))
        main_and_spatial = (join_values(tower, last, branch) for branch in attended.chunk(2, dim=-1))
        return DenseFeatures(torch.cat([*main_and_spatial, semantic], dim=-1), original_cls(tower, last, x, q, k, v), None,
                             grid_size)

    def project(self, tower: ImageTower, features: DenseFeatures) -> DenseFeatures:
        """See ``DenseEncoder``: the weighted sum of the branches' embeddings."""
        main, spatial, semantic = features.patches.chunk(3, dim=-1)
        embeddings = (tower.project(main) + self.spatial_weight * tower.project(spatial)
                      + self.semantic_weight * tower.project(semantic))
        return project(tower, features.replace(patches=main)).replace(patches=embeddings)

    def _spatial_layers(self, tower: ImageTower) -> int:
        if self.spatial_layers is not None:
            return self.spatial_layers
        return SPATIAL_LAYERS.get(tower.depth, max(1, tower.depth - 4))

    def _attended(self, features: Tensor, scope: Tensor, values: Tensor) -> Tensor:
        return scope_attention(features, scope, self.temperature).to(values.dtype) @ values

    def _blocks(self, tower: ImageTower, x: Tensor, grid_size: Grid, scope: Tensor) -> Tuple[Tensor, Tensor, Tensor, Tensor]:
        """All blocks but the last, with a copy of the CLS token for each region.

        Args:
            tower: The image tower.
            x: Input of the first block ``(B, T, D)``.
            grid_size: Rows and columns of the patches.
            scope: The region of each patch, ``(B, N)``.

        Returns:
            Input of the last block ``(B, T, D)``; the mean of the spatial branch's blocks; the copies ``(B, R, D)``; and the
            tokens that each copy attends to, ``(B, R, T)`` bool.
        """
        numbers = torch.arange(int(scope.max()) + 1, device=x.device)
        sees = F.pad(scope.unsqueeze(1) == numbers.view(1, -1, 1), (1, 0), value=True)
        copies = x[:, :1].expand(-1, len(numbers), -1)
        outputs: List[Tensor] = []
        end, layers = tower.depth - 2, self._spatial_layers(tower)
        for index, block in enumerate(list(tower.blocks)[:-1]):
            q, k, v = tower.qkv(block, x, grid_size)
            copies = attend_copies(tower, block, copies, k, v, sees)
            x = x + tower.join(block, F.scaled_dot_product_attention(q, k, v))
            x = x + tower.mlp(block, x)
            if end - layers <= index < end:
                outputs = [x if not outputs else outputs[0] + x]
        return x, outputs[0] / layers, copies, sees


def attend_copies(tower: ImageTower, block: nn.Module, copies: Tensor, k: Tensor, v: Tensor, sees: Tensor) -> Tensor:
    """A block's output for copies of the CLS token, which attend to the block's tokens and not to each other.

    Args:
        tower: The image tower.
        block: One of its blocks.
        copies: ``(B, R, D)``.
        k: Keys of the block's tokens ``(B, H, T, d)``.
        v: Values.
        sees: The tokens that each copy attends to, ``(B, R, T)`` bool.

    Returns:
        ``(B, R, D)``.
    """
    alone = tower.qkv(block, copies.flatten(0, 1).unsqueeze(1), (0, 0))[0]  # sequences of a CLS token without patches
    q = alone.squeeze(2).unflatten(0, copies.shape[:2]).transpose(1, 2)
    copies = copies + tower.join(block, F.scaled_dot_product_attention(q, k, v, attn_mask=sees.unsqueeze(1)))
    return copies + tower.mlp(block, copies)
