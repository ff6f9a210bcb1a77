"""MaskCLIP's attention: none."""
from typing import Optional, Tuple

import torch
from torch import Tensor

from ovseg.registry import ATTENTIONS


@ATTENTIONS.register_module(name='MaskCLIP')
def maskclip(q: Tensor, k: Tensor, v: Tensor, grid_size: Tuple[int, int], bias: Optional[Tensor] = None) -> Tensor:
    """The identity of MaskCLIP (Zhou et al., 2022): each token keeps its own value.

    Raises:
        ValueError: a ``bias`` is given; there is no softmax that it could enter.
    """
    if bias is not None:
        raise ValueError("image_encoder.similarity adds a map to a softmax, and image_encoder.attention.type='MaskCLIP' has "
                         'none: leave it out (apply_similarity_enhancement=False), or choose another attention')
    identity = torch.eye(q.shape[-2], device=q.device).to(q.dtype)  # torch 2.1 has no bfloat16 eye on the CPU
    return identity.expand(*q.shape[:2], -1, -1)
