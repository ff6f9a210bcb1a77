"""SFP's attention."""
from typing import Optional, Tuple

from torch import Tensor

from ovseg.models.attention.logits import product, softmax
from ovseg.registry import ATTENTIONS


@ATTENTIONS.register_module(name='SFP')
def sfp(q: Tensor, k: Tensor, v: Tensor, grid_size: Tuple[int, int], bias: Optional[Tensor] = None,
        scale: Optional[float] = None) -> Tensor:
    """Weights ``softmax((QQᵀ + KKᵀ) / 2)`` of SFP."""
    return softmax((product(q, q, scale) + product(k, k, scale)) / 2, bias)
