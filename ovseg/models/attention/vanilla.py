"""CLIP's own attention."""
from typing import Optional, Tuple

from torch import Tensor

from ovseg.models.attention.logits import product, softmax
from ovseg.registry import ATTENTIONS


@ATTENTIONS.register_module(name='Vanilla')
def vanilla(q: Tensor, k: Tensor, v: Tensor, grid_size: Tuple[int, int], bias: Optional[Tensor] = None,
            scale: Optional[float] = None) -> Tensor:
    """Weights ``softmax(QKᵀ)`` of CLIP (Radford et al., 2021)."""
    return softmax(product(q, k, scale), bias)
