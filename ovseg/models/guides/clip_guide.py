"""The CLIP's own features of an earlier block as a guide."""
from dataclasses import dataclass
from typing import Optional

from ovseg.inference.windows import Windows
from ovseg.models.guides.guide import Guide, check_features
from ovseg.models.towers.image_tower import ImageTower
from ovseg.models.window_batch import GuideFeatures, WindowBatch
from ovseg.registry import GUIDES
from ovseg.utils import check_integer


@GUIDES.register_module()
@dataclass(frozen=True)
class CLIPGuide(Guide):
    """Features of a block of the CLIP's image tower: no second network, nothing to download.

    Args:
        layer: The block, 1-based; default: L // 2, as that of the similarity map.
        features: ``'tokens'``, which leave the block; or its ``'q'``, ``'k'``, ``'v'``, with heads joined, or ``'qk'``, the sum
            of queries and keys.

    Raises:
        ValueError: a number out of range, or unknown features.
    """
    layer: Optional[int] = None
    features: str = 'tokens'

    def __post_init__(self) -> None:
        check_features('CLIPGuide', self.features)
        if self.layer is not None:
            check_integer('CLIPGuide layer', self.layer, 1)

    def check(self, tower: ImageTower, windows: Windows) -> None:
        """See ``Guide``."""
        check_integer('CLIPGuide layer', self._block(tower), 1, tower.depth)

    def load(self) -> None:
        """See ``Guide``."""

    def __call__(self, network: ImageTower, batch: WindowBatch) -> GuideFeatures:
        """See ``Guide``."""
        x, grid_size = network.embed(batch.images)
        *before, block = network.blocks[:self._block(network)]
        for each in before:
            x = network.run(each, x, grid_size)
        if self.features == 'tokens':
            x = network.run(block, x, grid_size)
        else:
            heads = dict(zip('qkv', network.qkv(block, x, grid_size)))
            x = sum(heads[letter] for letter in self.features).transpose(1, 2).flatten(2)  # type: ignore[union-attr]
        return GuideFeatures(x[:, int(network.has_cls):], grid_size)

    def _block(self, tower: ImageTower) -> int:
        return tower.depth // 2 if self.layer is None else self.layer
