"""The two steps that every attention variant shares."""
import math
from typing import Optional

from torch import Tensor

from ovseg.utils import check_number


def product(a: Tensor, b: Tensor, scale: Optional[float] = None) -> Tensor:
    """Scaled dot products ``scale * a @ b.T`` of ``(B, H, T, d)`` tokens: ``(B, H, T, T)``; ``scale`` is ``d ** -0.5``.

    Raises:
        ValueError: ``scale`` is no number.
    """
    if scale is not None:
        check_number('image_encoder.attention.scale', scale, -math.inf)
    return (a * (a.shape[-1] ** -0.5 if scale is None else scale)) @ b.transpose(-2, -1)


def softmax(logits: Tensor, bias: Optional[Tensor]) -> Tensor:
    """Softmax over the keys after adding ``bias (B, 1, T, T)``."""
    return (logits if bias is None else logits + bias).softmax(dim=-1)
