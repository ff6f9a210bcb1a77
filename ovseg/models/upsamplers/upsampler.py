"""The interface of upsamplers."""
from abc import ABC, abstractmethod
from typing import Optional

from torch import Tensor

from ovseg.models.dense_features import DenseFeatures
from ovseg.models.frozen import FrozenModule
from ovseg.models.towers.image_tower import ImageTower
from ovseg.precision import full_precision


class Upsampler(FrozenModule, ABC):
    """Brings the patch embeddings of windows to a finer grid, behind the post-processors and before the product with the
    text embeddings.

    Attributes:
        scale: Factor of rows and columns, where it is known before the first image; else None.
    """

    scale: Optional[int] = None

    def check(self, tower: ImageTower) -> None:
        """Refuse a tower that the upsampler does not work with. It has no weights yet.

        Raises:
            ValueError: names the key and what is allowed.
        """

    def load(self, tower: ImageTower) -> None:
        """Read the weights, after all components were checked. It may be called again, for another model of the same weights.

        Args:
            tower: The image tower of the CLIP.

        Raises:
            FileNotFoundError: the weights are not on this machine.
            ValueError: they are another network's, or for another CLIP; names the file.
        """

    def weights_digest(self) -> str:
        """Digest of the file that ``load`` reads; empty for an upsampler without one.

        Raises:
            FileNotFoundError: there is no such file.
        """
        return ''

    @abstractmethod
    def __call__(self, features: DenseFeatures, rgb: Tensor) -> DenseFeatures:
        """Features with other patches ``(B, N', E)`` and their grid; CLS token and attention remain those of the windows.

        Args:
            features: Embeddings of windows, ``(B, N, E)``; they are not written to.
            rgb: The windows as RGB ``(B, 3, h, w)`` float32 in [0, 1].
        """


def upsample(upsampler: Upsampler, features: DenseFeatures, rgb: Tensor) -> DenseFeatures:
    """Result of an upsampler, checked; arguments as in ``Upsampler.__call__``.

    Raises:
        ValueError: no ``DenseFeatures``, or patches that do not fit their grid, the windows or the text embeddings.
    """
    name = type(upsampler).__name__
    with full_precision(features.patches):
        result = upsampler(features, rgb)
    if not isinstance(result, DenseFeatures):
        raise ValueError(f'upsampler {name} must return DenseFeatures, not {type(result).__name__}')
    windows, _, width = features.patches.shape
    rows, columns = result.grid_size
    if tuple(result.patches.shape) != (windows, rows * columns, width):
        raise ValueError(f'upsampler {name} must return patches of shape {(windows, rows * columns, width)} for its grid of '
                         f'{rows} x {columns}, not {tuple(result.patches.shape)}')
    return result
