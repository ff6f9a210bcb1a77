"""The interface of sources of region maps."""
from abc import ABC, abstractmethod
from typing import Any, Iterable, Optional, Tuple

import torch
from mmseg.structures import SegDataSample
from torch import Tensor, nn
from torch.nn import functional as F

from ovseg.components import build_registered
from ovseg.registry import REGIONS

MOST_REGIONS = 65535  # of an image


class Regions(ABC):
    """The settings of a source of class-agnostic region maps.

    It is light: a network that it needs is loaded once for all equal sources, after all components were checked. Subclasses are
    frozen dataclasses, whose fields decide what is equal.
    """

    def check(self) -> None:  # noqa: B027  most sources have nothing to look for
        """Refuse settings that cannot work on this machine, before weights are read.

        Raises:
            FileNotFoundError: names the key and what is missing.
        """

    def load(self) -> Optional[nn.Module]:
        """The network with its weights; None for a source without one."""
        return None

    def digest(self) -> str:
        """Digest of the files that the maps depend on; empty for a source without files."""
        return ''

    def check_images(self, images: Iterable[str]) -> None:  # noqa: B027  most sources compute what they need
        """Refuse images of a data set that the source has no maps of, before the first one is segmented.

        Args:
            images: Paths.

        Raises:
            FileNotFoundError: names the first file that is missing.
        """

    @abstractmethod
    def __call__(self, network: Any, rgb: Tensor, sample: SegDataSample) -> Tensor:
        """The region map of an image.

        Args:
            network: What ``load`` gave.
            rgb: The image as the model gets it, ``(3, H, W)`` float32 in [0, 1].
            sample: Its metadata.

        Returns:
            ``(H', W')`` integers, of any size: 0 for pixels in no region, positive numbers for the regions. A source that does
            not look at ``rgb`` mirrors its map as ``sample`` says, see ``mirrored_axes``.
        """


def build_regions(key: str, cfg: Any) -> Regions:
    """The source of region maps of a config.

    Args:
        key: Its key in a model's config, e.g. ``'image_encoder.regions'``.
        cfg: A dict with a ``type`` in ``REGIONS`` and keywords, a type alone, or a source, which is returned as it is.

    Raises:
        ValueError: it is none of those, or a setting is not allowed.
    """
    return build_registered(key, REGIONS, Regions, cfg)


def region_map(regions: Regions, network: Any, rgb: Tensor, sample: SegDataSample) -> Tensor:
    """The map of an image, checked, ``(H', W')`` int64 on the device of ``rgb``; arguments as in ``Regions.__call__``.

    Raises:
        ValueError: no map of integers with two axes, or numbers outside 0 to 65,535.
    """
    found = regions(network, rgb, sample)
    name = type(regions).__name__
    if not isinstance(found, Tensor) or found.ndim != 2 or found.is_floating_point() or found.is_complex():
        got = f'{found.dtype} of shape {tuple(found.shape)}' if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(f'regions {name} must return a tensor of integers (H, W), not {got}')
    lowest, highest = (int(end) for end in torch.aminmax(found))
    if lowest < 0 or highest > MOST_REGIONS:
        raise ValueError(f'regions {name} must return numbers from 0 to {MOST_REGIONS}, not from {lowest} to {highest}')
    return found.to(rgb.device, torch.int64)


def resize_regions(regions: Tensor, size: Tuple[int, int]) -> Tensor:
    """Region maps ``(..., H', W')`` int64 in another ``(height, width)``, by the nearest neighbour."""
    if tuple(regions.shape[-2:]) == tuple(size):
        return regions
    maps = regions.reshape(1, -1, *regions.shape[-2:]).float()
    return F.interpolate(maps, size, mode='nearest').view(*regions.shape[:-2], *size).long()
