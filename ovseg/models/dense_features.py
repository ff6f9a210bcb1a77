"""The features of a batch of windows."""
from dataclasses import dataclass, replace
from typing import Any, Optional, Tuple

from torch import Tensor


@dataclass(frozen=True)
class DenseFeatures:
    """Features of ``B`` windows with ``N = h * w`` patches each.

    Args:
        patches: Patch features ``(B, N, C)``, row by row; ``C`` is the ViT width D before the projection and the joint
            image-text width E after it.
        cls_token: The CLS token ``(B, C)``; None where there is none.
        attn: Attention ``(B, 1+N, 1+N)`` float32, mean over heads, rows sum to 1, index 0 is the CLS token; None where no
            module asked for it.
        grid_size: ``(h, w)``.
    """
    patches: Tensor
    cls_token: Optional[Tensor]
    attn: Optional[Tensor]
    grid_size: Tuple[int, int]

    def replace(self, **changes: Any) -> 'DenseFeatures':
        """A copy with some fields changed; modules never write into their input."""
        return replace(self, **changes)
