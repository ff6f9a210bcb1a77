"""NACLIP's neighbour-aware attention."""
from typing import Optional, Tuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ovseg.models.attention.logits import product, softmax
from ovseg.registry import ATTENTIONS
from ovseg.utils import check_number


def gaussian_window(grid_size: Tuple[int, int], std: float, device: Optional[torch.device] = None) -> Tensor:
    """``ω_ij = exp(-‖p_i - p_j‖² / (2 std²))`` of patches' grid positions, ``(N, N)`` float32."""
    rows, cols = (torch.arange(size, dtype=torch.float32, device=device) for size in grid_size)
    row_term, col_term = (torch.exp(-(x[:, None] - x) ** 2 / (2 * std ** 2)) for x in (rows, cols))
    return torch.kron(row_term, col_term)


@ATTENTIONS.register_module(name='NACLIP')
def naclip(q: Tensor, k: Tensor, v: Tensor, grid_size: Tuple[int, int], bias: Optional[Tensor] = None,
           scale: Optional[float] = None, gaussian_std: float = 5.0) -> Tensor:
    """Weights ``softmax(KKᵀ + ω)`` of NACLIP (Hajimiri et al., 2025), ω a Gaussian of the patches' grid distance.

    Raises:
        ValueError: ``gaussian_std`` is not positive.
    """
    check_number('image_encoder.attention.gaussian_std', gaussian_std, above=True)
    logits, window = product(k, k, scale), gaussian_window(grid_size, gaussian_std, k.device).to(k.dtype)
    others = logits.shape[-1] - len(window)  # a CLS token in front of the patches, or none
    return softmax(logits + F.pad(window, (others, 0, others, 0)), bias)
