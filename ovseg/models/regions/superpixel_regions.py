"""Superpixels as region maps: no network, and nothing to download."""
from dataclasses import dataclass
from typing import Callable

import numpy as np
import torch
from mmseg.structures import SegDataSample
from torch import Tensor

from ovseg.extras import missing_package
from ovseg.models.regions.regions import MOST_REGIONS, Regions
from ovseg.registry import REGIONS
from ovseg.utils import check_integer, check_number


@REGIONS.register_module()
@dataclass(frozen=True)
class SuperpixelRegions(Regions):
    """SLIC superpixels (Achanta et al., 2012) of the image as the model gets it, by scikit-image.

    They depend on colours alone and are smaller than objects: a stand-in for masks of a network, for demos and tests. They are
    computed on the CPU.

    Args:
        segments: About how many superpixels an image has.
        compactness: Weight of the distance against that of the colour; larger ones give squarer superpixels.

    Raises:
        ImportError: scikit-image is not installed.
        ValueError: a number out of range.
    """
    segments: int = 50
    compactness: float = 10.0

    def __post_init__(self) -> None:
        check_integer('SuperpixelRegions segments', self.segments, 1, MOST_REGIONS)
        check_number('SuperpixelRegions compactness', self.compactness, above=True)

    def check(self) -> None:
        """See ``Regions``."""
        _slic()

    def __call__(self, network: None, rgb: Tensor, sample: SegDataSample) -> Tensor:
        """See ``Regions``."""
        image = rgb.permute(1, 2, 0).clamp(0, 1).nan_to_num().cpu().numpy().astype(np.float64)
        return torch.from_numpy(_slic()(image, self.segments, self.compactness, start_label=1, channel_axis=-1))


def _slic() -> Callable[..., np.ndarray]:
    """scikit-image's function; importing it takes a second.

    Raises:
        MissingPackageError: it is not installed; says how to install it.
    """
    try:
        from skimage.segmentation import slic
    except ImportError as error:
        raise missing_package('SuperpixelRegions', 'scikit-image', 'regions') from error
    return slic
