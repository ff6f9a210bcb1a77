"""SCLIP's correlative self-attention."""
from typing import Optional, Tuple

from torch import Tensor

from ovseg.models.attention.logits import product, softmax
from ovseg.registry import ATTENTIONS


@ATTENTIONS.register_module(name='SCLIP')
def sclip(q: Tensor, k: Tensor, v: Tensor, grid_size: Tuple[int, int], bias: Optional[Tensor] = None,
          scale: Optional[float] = None) -> Tensor:
    """Weights ``softmax(QQᵀ) + softmax(KKᵀ)`` of SCLIP (Wang et al., 2024); rows sum to 2."""
    return softmax(product(q, q, scale), bias) + softmax(product(k, k, scale), bias)
