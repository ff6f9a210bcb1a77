"""PAMR, pixel-adaptive mask refinement (Araslanov and Roth, Single-Stage Semantic Segmentation from Image Labels, 2020)."""
from typing import Callable, Iterator, Sequence, Tuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ovseg.inference.cache import keep_recent
from ovseg.registry import REFINERS
from ovseg.utils import check_integer, shown


def affinity(image: Tensor, dilations: Sequence[int]) -> Tensor:
    """Weights of the 8 neighbours of each pixel at each dilation.

    ``softmax over neighbours of mean over channels of -|I_p - I_n| / (0.1 · std + 1e-8)``, where std is taken over the 3 x 3
    pixels at all dilations. Beyond the border the nearest pixel of the image is used.

    Args:
        image: ``(..., C, H, W)``, one image or several.
        dilations: Distances of the neighbours in pixels.

    Returns:
        ``(..., 8 * len(dilations), H, W)`` float32, summing to 1 over the neighbours.
    """
    image = image.float()
    total, squares = torch.zeros_like(image), torch.zeros_like(image)
    for neighbour in _shifted(image, dilations):
        difference = neighbour - image
        total += difference
        squares.addcmul_(difference, difference)
    # The differences of the pixel from itself, one for each dilation, are 0. With them the variance is at least a ninth of the
    # mean square, so that the subtraction loses no more than a digit.
    count = 9 * len(dilations)
    deviation = ((squares - total * total / count) / (count - 1)).sqrt()
    scale = -1 / (image.shape[-3] * (1e-8 + 0.1 * deviation))
    logits = torch.stack([((neighbour - image).abs_() * scale).sum(dim=-3) for neighbour in _shifted(image, dilations)], dim=-1)
    return logits.softmax(dim=-1).movedim(-1, -3)


def propagate(scores: Tensor, weights: Tensor, dilations: Sequence[int], num_iter: int) -> Tensor:
    """Replace every score by the weighted mean of its neighbours' scores, ``num_iter`` times.

    A round is one product of a sparse matrix, of a row for each pixel, and the scores of all pixels, ``(H * W, Q)``.

    Args:
        scores: ``(..., Q, H, W)`` of one image or several.
        weights: ``affinity`` of the images, ``(..., 8 * len(dilations), H, W)``.
        dilations: Those of ``weights``.
        num_iter: Number of rounds.

    Returns:
        ``(..., Q, H, W)``; each text embedding's scores are refined on their own.
    """
    count, height, width = scores.shape[-3:]
    rows = scores.movedim(-3, -1).reshape(-1, count)
    values = weights.movedim(-3, -1).reshape(len(rows), -1).to(rows.dtype)
    index = _neighbours((height, width), tuple(dilations), rows.device)
    first = torch.arange(0, len(rows), len(index), dtype=index.dtype, device=rows.device)
    index = (first.view(-1, 1, 1) + index).flatten(0, 1)
    for _ in range(num_iter):
        rows = F.embedding_bag(index, rows, mode='sum', per_sample_weights=values)
    return rows.view(*scores.shape[:-3], height, width, count).movedim(-1, -3)


def _shifts(dilations: Sequence[int]) -> Iterator[Tuple[int, int]]:
    """Rows and columns to the 8 neighbours at each dilation."""
    for dilation in dilations:
        for y in (-dilation, 0, dilation):
            for x in (-dilation, 0, dilation):
                if (y, x) != (0, 0):
                    yield y, x


def _shifted(maps: Tensor, dilations: Sequence[int]) -> Iterator[Tensor]:
    """The neighbours of every pixel of ``maps (..., C, H, W)``, as views ``(..., C, H, W)`` in the order of ``_shifts``."""
    height, width = maps.shape[-2:]
    largest = max(dilations)
    padded = F.pad(maps.reshape(1, -1, height, width), [largest] * 4, mode='replicate')
    padded = padded.view(maps.shape[:-2] + padded.shape[-2:])
    for y, x in _shifts(dilations):
        yield padded[..., largest + y:largest + y + height, largest + x:largest + x + width]


@keep_recent
def _neighbours(size: Tuple[int, int], dilations: Tuple[int, ...], device: torch.device) -> Tensor:
    """Pixels that are the neighbours of each pixel of an image, ``(H * W, 8 * len(dilations))`` int32."""
    height, width = size
    rows, columns = (torch.arange(side, dtype=torch.int32, device=device) for side in size)
    return torch.stack([((rows + y).clamp(0, height - 1).unsqueeze(1) * width + (columns + x).clamp(0, width - 1)).flatten()
                        for y, x in _shifts(dilations)], dim=1)


@REFINERS.register_module()
class PAMR:
    """Refines dense scores by the image's local affinities.

    Args:
        num_iter: Rounds of propagation.
        dilations: Distances of the neighbours in pixels.
    """

    def __init__(self, num_iter: int = 10, dilations: Sequence[int] = (8, 16)) -> None:
        self.num_iter = check_integer('PAMR num_iter', num_iter, 1)
        if not isinstance(dilations, (list, tuple)) or not dilations:
            raise ValueError(f'PAMR dilations={shown(dilations)} must be a list of distances in pixels, e.g. (8, 16)')
        self.dilations = tuple(check_integer('PAMR dilations', dilation, 1) for dilation in dilations)

    def of_image(self, image: Tensor) -> Callable[[Tensor], Tensor]:
        """A function that refines scores ``(Q, H, W)`` of ``image (C, H, W)``; the affinities are computed once."""
        weights = affinity(image, self.dilations)
        return lambda scores: propagate(scores, weights, self.dilations, self.num_iter)
