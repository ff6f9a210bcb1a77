"""The number of windows that go through the networks at once."""
import math
from typing import Iterable

import torch
from torch import Tensor

from ovseg.models.guides import Guide
from ovseg.models.towers import ImageTower

OF_A_CPU = 32  # larger batches are not faster
MOST = 512


def windows_that_fit(windows: Tensor, tower: ImageTower, guides: Iterable[Guide]) -> int:
    """Number of windows like ``windows (n, 3, h, w)`` that half of a GPU's free memory holds; 32 on other devices."""
    if windows.device.type != 'cuda':
        return OF_A_CPU
    patches = math.prod(-(-size // patch) for size, patch in zip(windows.shape[2:], tower.patch_size)) + 1
    # input, norm, q, k, v, and the MLP's hidden layer before and behind its activation; last attention's logits
    floats = patches * 14 * tower.width + 4 * tower.heads * patches ** 2
    size = (windows.shape[2], windows.shape[3])
    needed = floats * tower.dtype.itemsize + sum(guide.bytes_per_window(size) for guide in guides)
    free = torch.cuda.mem_get_info(windows.device)[0]
    free += torch.cuda.memory_reserved(windows.device) - torch.cuda.memory_allocated(windows.device)
    return max(1, min(MOST, int(free / 2 / needed)))
