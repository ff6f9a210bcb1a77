"""ClearCLIP's attention."""
from typing import Optional, Tuple

from torch import Tensor

from ovseg.models.attention.logits import product, softmax
from ovseg.registry import ATTENTIONS


@ATTENTIONS.register_module(name='ClearCLIP')
def clearclip(q: Tensor, k: Tensor, v: Tensor, grid_size: Tuple[int, int], bias: Optional[Tensor] = None,
              scale: Optional[float] = None) -> Tensor:
    """Weights ``softmax(QQᵀ)`` of ClearCLIP (Lan et al., 2024)."""
    return softmax(product(q, q, scale), bias)
