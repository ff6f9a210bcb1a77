"""A batch of windows, and what frozen models give of it."""
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Dict, Mapping, NamedTuple, Optional, Tuple

from torch import Tensor, nn

from ovseg.models.class_texts import ClassTexts


class GuideFeatures(NamedTuple):
    """Features of ``B`` windows from a guide.

    Args:
        patches: Patch features ``(B, N', C)``, row by row.
        grid_size: ``(h', w')`` with ``h' * w' = N'``.
    """
    patches: Tensor
    grid_size: Tuple[int, int]


@dataclass(frozen=True)
class WindowBatch:
    """A batch of windows, as dense encoders and guides get it.

    Args:
        images: Windows ``(B, 3, h, w)``, normalised for the CLIP.
        mean: Mean of RGB in [0, 1] that was subtracted, ``(3, 1, 1)``.
        std: Deviation of RGB in [0, 1] that the windows were divided by, ``(3, 1, 1)``.
        networks: The networks of guides, see ``load_guides``.
        texts: The text embeddings with the class of each, for a dense encoder that declares ``needs_texts``; else None.
        regions: Region maps ``(B, h, w)`` int64, for a dense encoder with a source of regions; else None. 0 is for pixels in
            no region and for padding; an image's windows have the same numbers for its regions, 1 to 65,535.
    """
    images: Tensor
    mean: Tensor
    std: Tensor
    networks: Mapping[Any, nn.Module] = field(default_factory=dict)
    texts: Optional[ClassTexts] = None
    regions: Optional[Tensor] = None
    _known: Dict[Any, GuideFeatures] = field(default_factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def rgb(self) -> Tensor:
        """The windows as RGB ``(B, 3, h, w)`` float32 in [0, 1]; padding has the mean colour."""
        return self.images * self.std + self.mean

    def guide(self, guide: Any) -> GuideFeatures:
        """The features that a ``Guide`` gives of the windows, computed once for all equal guides.

        Raises:
            ValueError: the network of the guide is not among ``networks``; or see ``Guide``.
        """
        if guide not in self.networks:
            raise ValueError(f'{guide} has no network here: it must be the attribute guide of the component that uses it')
        if guide not in self._known:
            self._known[guide] = guide(self.networks[guide], self)
        return self._known[guide]
