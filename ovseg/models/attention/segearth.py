"""SegEarth-OV's attention."""
from typing import Optional, Tuple

from torch import Tensor

from ovseg.models.attention.logits import product, softmax
from ovseg.registry import ATTENTIONS


@ATTENTIONS.register_module(name='SegEarth')
def segearth(q: Tensor, k: Tensor, v: Tensor, grid_size: Tuple[int, int], bias: Optional[Tensor] = None,
             scale: Optional[float] = None) -> Tensor:
    """Weights ``softmax(QQᵀ) + softmax(KKᵀ) + softmax(VVᵀ)`` of SegEarth-OV (Li et al., 2025); rows sum to 3."""
    qq, kk, vv = (softmax(product(x, x, scale), bias) for x in (q, k, v))
    return qq + kk + vv
