"""The scores of the patches of an image."""
from dataclasses import dataclass, replace
from typing import Any, Optional

from torch import Tensor

from ovseg.inference.windows import WindowLayout
from ovseg.models.window_batch import GuideFeatures


@dataclass(frozen=True)
class PatchScores:
    """The scores of all patches of an image against all text embeddings.

    They are held for all texts at once, ``4 * windows * N * Q`` bytes, whatever ``decoder.memory_mb`` says, but only where a
    module needs all of them: see ``TextwiseProcessor``.

    Args:
        scores: ``(windows, N, Q)`` float32, row by row, before ``logit_scale``; 0 where a patch is not finite.
        layout: Where the windows lie, with the grid of the patches: ``rows.cells * cols.cells`` is N.
        class_of: The class of each text, ``(Q,)`` int64, ascending.
        count: Number K of classes.
        guide: What the module's guide gives of the windows, ``(windows, N', C)``; None where it has none.
    """
    scores: Tensor
    layout: WindowLayout
    class_of: Tensor
    count: int
    guide: Optional[GuideFeatures] = None

    def replace(self, **changes: Any) -> 'PatchScores':
        """A copy with some fields changed; modules never write into their input."""
        return replace(self, **changes)
