"""Upsampling without a look at the image."""
from torch import Tensor
from torch.nn import functional as F

from ovseg.models.dense_features import DenseFeatures
from ovseg.models.upsamplers.upsampler import Upsampler
from ovseg.registry import UPSAMPLERS
from ovseg.utils import check_integer


def upsample_bilinear(features: DenseFeatures, scale: int) -> DenseFeatures:
    """Bilinear interpolation (align_corners=False) of patches to a grid of ``scale`` times the rows and columns."""
    rows, columns = features.grid_size
    maps = features.patches.float().transpose(1, 2).unflatten(2, (rows, columns))
    finer = F.interpolate(maps, (scale * rows, scale * columns), mode='bilinear', align_corners=False)
    return features.replace(patches=finer.flatten(2).transpose(1, 2).to(features.patches.dtype),
                            grid_size=(scale * rows, scale * columns))


@UPSAMPLERS.register_module()
class BilinearUpsampler(Upsampler):
    """Interpolates patch embeddings bilinearly: ``upsample_bilinear``.

    Args:
        scale: Factor of rows and columns, a positive integer; 1 does nothing.

    Raises:
        ValueError: it is none.
    """

    def __init__(self, scale: int = 2) -> None:
        super().__init__()
        self.scale = check_integer('upsampler.scale', scale, 1)

    def __call__(self, features: DenseFeatures, rgb: Tensor) -> DenseFeatures:
        """See ``Upsampler``."""
        return upsample_bilinear(features, self.scale)
