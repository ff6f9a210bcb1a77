"""Patches that are not finite (NaN or Inf), and the pixels that have no label because of them."""
from types import MappingProxyType
from typing import Any, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

from ovseg.inference.decode import Patches, label_map, merge_windows
from ovseg.inference.windows import WindowLayout
from ovseg.precision import full_precision


def ignore_label(count: int) -> int:
    """The label of pixels without a class beside ``count`` classes: 255 for up to 255 of them, then 65535.

    It is the largest value of the smallest unsigned type that holds it and all classes.
    """
    return int(np.iinfo(np.min_scalar_type(count)).max)


def exceptions(finite: Sequence[Tensor]) -> List[Optional[Tensor]]:
    """Per image of a batch the places that are not ``finite``; None where all are. The host waits for the device once, unless
    some are not.
    """
    if torch.stack([each.all() for each in finite]).all():
        return [None] * len(finite)
    return [None if each.all() else ~each for each in finite]


class ImagePatches(NamedTuple):
    """The patches of an image's windows.

    Args:
        layout: The windows.
        patches: ``(windows, N, E)`` float32, finite; zero where a patch was not. Or what gives the scores of
            such patches by the same product.
        nonfinite: ``(windows, N)`` bool, the patches that were not finite; None where all were.
        guides: What guides of modules of the stage ``'scores'`` give of the windows.
        regions: The region map of the image, ``(H', W')`` int64 of any size; None where the dense encoder has none.
    """
    layout: WindowLayout
    patches: Patches
    nonfinite: Optional[Tensor]
    guides: Mapping[Any, Any] = MappingProxyType({})
    regions: Optional[Tensor] = None

    @classmethod
    def checked(cls, layouts: Sequence[WindowLayout], patches: Sequence[Tensor]) -> List['ImagePatches']:
        """Those of a batch of images. The host waits for the device once, unless a patch is not finite.

        Args:
            layouts: One per image.
            patches: ``(windows, N, E)`` per image.
        """
        return [cls(layout, each if bad is None else each.masked_fill(bad.unsqueeze(-1), 0), bad)
                for layout, each, bad in zip(layouts, patches, exceptions([each.isfinite().all(dim=-1) for each in patches]))]

    def with_scores(self, scores: Tensor) -> 'ImagePatches':
        """Scores ``(windows, N, Q)`` in place of the patches; one that is not finite makes its patch so, too."""
        (checked,) = self.checked([self.layout], [scores])
        if self.nonfinite is None or checked.nonfinite is None:
            return checked._replace(nonfinite=self.nonfinite if checked.nonfinite is None else checked.nonfinite)
        return checked._replace(nonfinite=self.nonfinite | checked.nonfinite)

    def undefined_pixels(self, out_size: Tuple[int, int]) -> Tensor:
        """The pixels whose score has a non-zero weight from a patch that is not finite, ``(H, W)`` bool.

        Raises:
            ValueError: the image has no such patches.
        """
        if self.nonfinite is None:
            raise ValueError('all patches of the image are finite')
        with full_precision(self.nonfinite):
            return merge_windows(self.nonfinite.float().unsqueeze(-1), self.layout, out_size)[0] > 0


def partial_label_map(probabilities: Tensor, prob_thd: float = 0.0, bg_idx: int = 0,
                      area_thd: Optional[float] = None) -> Tensor:
    """``label_map`` of the pixels that have probabilities; those of NaN get the ignore label and count for no area.

    Args:
        probabilities: ``(K, height, width)``; NaN for all classes of a pixel, or for none.
        prob_thd: See ``label_map``, also for the next two.
        bg_idx: The background class.
        area_thd: A share of the foreground.

    Returns:
        ``(height, width)`` int64.
    """
    defined = ~probabilities[0].isnan()
    labels = torch.full_like(defined, ignore_label(len(probabilities)), dtype=torch.int64)
    labels[defined] = label_map(probabilities[:, defined].unsqueeze(1), prob_thd, bg_idx, area_thd)[0]
    return labels
