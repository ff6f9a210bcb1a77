"""Key-key attention."""
from typing import Optional, Tuple

from torch import Tensor

from ovseg.models.attention.logits import product, softmax
from ovseg.registry import ATTENTIONS


@ATTENTIONS.register_module(name='KK')
def kk(q: Tensor, k: Tensor, v: Tensor, grid_size: Tuple[int, int], bias: Optional[Tensor] = None,
       scale: Optional[float] = None) -> Tensor:
    """Weights ``softmax(KKᵀ)``: NACLIP without its Gaussian, an ablation."""
    return softmax(product(k, k, scale), bias)
