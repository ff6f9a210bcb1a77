"""LPOSS+: label propagation over pixels (Stojnić et al., LPOSS: Label Propagation Over Patches and Pixels, 2025)."""
from typing import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ovseg.models.neighbourhoods import sums_of_neighbours
from ovseg.models.propagation import propagate
from ovseg.models.refiners.refiner import InputRefiner
from ovseg.registry import REFINERS
from ovseg.utils import check_integer, check_number

LARGEST_ALPHA = 0.9999  # at 1 the system is singular
LAB_RANGE = (100.0, 128.0, 128.0)
XYZ_OF_RGB = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))  # D65
WHITE = (0.95047, 1.0, 1.08883)


def rgb_to_lab(rgb: Tensor) -> Tensor:
    """CIE L*a*b* ``(3, H, W)`` of sRGB ``(3, H, W)`` in [0, 1], for the white point D65."""
    linear = torch.where(rgb > 0.04045, ((rgb + 0.055) / 1.055).clamp(min=0).pow(2.4), rgb / 12.92)
    xyz = (rgb.new_tensor(XYZ_OF_RGB) @ linear.flatten(1)).view_as(rgb) / rgb.new_tensor(WHITE).view(3, 1, 1)
    x, y, z = torch.where(xyz > 0.008856, xyz.clamp(min=0.008856).pow(1 / 3), 7.787 * xyz + 4 / 29)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def pixel_weights(colours: Tensor, reach: int, tau: float) -> Tensor:
    """``exp(-|c_p - c_n| / tau)`` of the neighbours n of each pixel p, 0 for the pixel itself and beyond the border.

    Args:
        colours: c, ``(C, H, W)``.
        reach: Neighbours are at most so many rows and columns away.
        tau: A positive number.

    Returns:
        ``(H, W, (2 * reach + 1) ** 2)`` float32; neighbours row by row.
    """
    _, height, width = colours.shape
    side = 2 * reach + 1
    padded = F.pad(colours, [reach] * 4, value=torch.inf)  # which is infinitely far from any colour
    weights = torch.empty(height, width, side, side, device=colours.device)
    for y in range(side):
        for x in range(side):
            squares = (padded[:, y:y + height, x:x + width] - colours).square_().sum(dim=0)
            weights[..., y, x] = squares.sqrt_().div_(-tau).exp_()
    weights[..., reach, reach] = 0
    return weights.flatten(2)


@REFINERS.register_module()
class LPOSSPlus(InputRefiner):
    """Propagates scores over the graph of the pixels of the network's input.

    ``Z`` of ``(I - alpha D^-½ W D^-½) Z = Y`` takes the place of the scores Y, where the weight of two pixels that are near
    each other is ``exp(-|difference of their colours| / tau)``, in L*a*b* divided by (100, 128, 128). ``4 * r²`` bytes are held
    for each pixel.

    Args:
        tau: Scale of the difference of colours.
        r: Side of the square of neighbours around a pixel, an odd number of pixels.
        alpha: Weight of the neighbours, in [0, 1).
        num_iter: Largest number of conjugate gradient steps.
        tolerance: A text is left alone once its residual is at most this share of its scores.

    Raises:
        ValueError: a number out of range.
    """

    def __init__(self, tau: float = 0.01, r: int = 13, alpha: float = 0.95, num_iter: int = 10,
                 tolerance: float = 1e-6) -> None:
        self.tau = check_number('LPOSSPlus tau', tau, above=True)
        if check_integer('LPOSSPlus r', r, 3) % 2 == 0:
            raise ValueError(f'LPOSSPlus r={r} must be odd: the pixel stands in the middle')
        self.reach = r // 2
        self.alpha = check_number('LPOSSPlus alpha', alpha, 0, LARGEST_ALPHA)
        self.num_iter = check_integer('LPOSSPlus num_iter', num_iter, 1)
        self.tolerance = check_number('LPOSSPlus tolerance', tolerance, 0, 1)

    def of_image(self, image: Tensor) -> Callable[[Tensor], Tensor]:
        """See ``InputRefiner``."""
        size = (image.shape[1], image.shape[2])
        colours = rgb_to_lab(image.float().clamp(0, 1)) / image.new_tensor(LAB_RANGE, dtype=torch.float32).view(3, 1, 1)
        weights = pixel_weights(colours, self.reach, self.tau)
        degrees = weights.sum(dim=2).view(-1, 1)
        border = (0, 0, *[self.reach] * 4)

        def product(rows: Tensor) -> Tensor:
            return sums_of_neighbours(F.pad(rows.view(1, *size, -1), border), weights.unsqueeze(0)).view_as(rows)

        def refine(scores: Tensor) -> Tensor:
            seeds = scores.flatten(1).t().contiguous()
            return propagate(product, degrees, seeds, self.alpha, self.num_iter, self.tolerance).t().unflatten(1, size)
        return refine
