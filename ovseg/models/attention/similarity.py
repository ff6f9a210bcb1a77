"""The mid-layer similarity map that may bias every softmax of the last block."""
import torch
from torch import Tensor
from torch.nn import functional as F

from ovseg.utils import check_number


def similarity_map(features: Tensor, temperature: float = 1.0, add_self_similarity: bool = True) -> Tensor:
    """``S_ij = cos(x_i, x_j) / temperature`` between the patches of a window.

    Args:
        features: Patch features ``(B, N, D)``; a zero vector is similar to nothing, itself included.
        temperature: Positive divisor.
        add_self_similarity: Keep the diagonal; if not, it is 0.

    Returns:
        ``(B, N, N)`` in the dtype of ``features``; norms and products are taken in float32.

    Raises:
        ValueError: ``temperature`` is not positive.
    """
    check_number('similarity temperature', temperature, above=True)
    unit = F.normalize(features.float(), dim=-1)
    similarity = unit @ unit.transpose(-2, -1) / temperature
    if not add_self_similarity:
        itself = torch.eye(similarity.shape[-1], dtype=torch.bool, device=similarity.device)
        similarity = similarity.masked_fill_(itself, 0)
    return similarity.to(features.dtype)
