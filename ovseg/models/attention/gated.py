"""The gated QQ·KK attention."""
from typing import Optional, Tuple

from torch import Tensor

from ovseg.models.attention.logits import product, softmax
from ovseg.registry import ATTENTIONS


@ATTENTIONS.register_module(name=['Experimental', 'Gated'])
def gated(q: Tensor, k: Tensor, v: Tensor, grid_size: Tuple[int, int], bias: Optional[Tensor] = None,
          scale: Optional[float] = None) -> Tensor:
    """Weights ``softmax(σ(QQᵀ) ⊙ KKᵀ)``: the queries gate how strongly two keys may attract each other."""
    return softmax(product(q, q, scale).sigmoid() * product(k, k, scale), bias)
