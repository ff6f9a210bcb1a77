"""Upsampling without a look at the image."""
from torch import Tensor
from torch.nn import functional as F

from ovseg.models.dense_features import DenseFeatures
from ovseg.models.upsamplers.upsampler import Upsampler
from ovseg.registry import UPSAMPLERS
from ovseg.utils import check_flag, check_integer


def upsample_bilinear(features: DenseFeatures, scale: int, normalize: bool = False) -> DenseFeatures:
    """Bilinear interpolation (align_corners=False) of patches to a grid of ``scale`` times the rows and columns.

    With ``normalize`` they are divided by their lengths first.
    """
    rows, columns = features.grid_size
    patches = features.patches.float()
    if normalize:
        patches = F.normalize(patches, dim=-1)
    maps = patches.transpose(1, 2).unflatten(2, (rows, columns))
    finer = F.interpolate(maps, (scale * rows, scale * columns), mode='bilinear', align_corners=False)
    return features.replace(patches=finer.flatten(2).transpose(1, 2).to(features.patches.dtype),
                            grid_size=(scale * rows, scale * columns))


@UPSAMPLERS.register_module()
class BilinearUpsampler(Upsampler):
    """Interpolates patch embeddings bilinearly: ``upsample_bilinear``.

    Args:
        scale: Factor of rows and columns, a positive integer.
        normalize: Divide embeddings by their lengths first, so that long ones have no more weight (LPOSS).

    Raises:
        ValueError: a scale that is none.
    """

    def __init__(self, scale: int = 2, normalize: bool = False) -> None:
        super().__init__()
        self.scale: int = check_integer('upsampler.scale', scale, 1)
        self.normalize = check_flag('upsampler.normalize', normalize)

    def __call__(self, features: DenseFeatures, rgb: Tensor) -> DenseFeatures:
        """See ``Upsampler``."""
        return upsample_bilinear(features, self.scale, self.normalize)
