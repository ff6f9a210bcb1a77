"""PAMR, pixel-adaptive mask refinement (Araslanov and Roth, Single-Stage Semantic Segmentation from Image Labels, 2020)."""
from typing import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ovseg.registry import REFINERS
from ovseg.utils import check_integer, shown


def affinity(image: Tensor, dilations: Sequence[int]) -> Tensor:
    """Weights of the 8 neighbours of each pixel at each dilation.

    ``softmax over neighbours of mean over channels of -|I_p - I_n| / (0.1 · std + 1e-8)``, where std is taken over the 3 x 3
    pixels at all dilations. Beyond the border the nearest pixel of the image is used.

    Args:
        image: ``(C, H, W)``.
        dilations: Distances of the neighbours in pixels.

    Returns:
        ``(8 * len(dilations), H, W)`` float32, summing to 1 over the first axis.
    """
    image = image.float()
    neighbours = list(_shifted(image, dilations))
    deviation = torch.stack([*neighbours, *[image] * len(dilations)]).std(dim=0)
    distance = torch.stack([(image - neighbour).abs() for neighbour in neighbours]) / (1e-8 + 0.1 * deviation)
    return (-distance).mean(dim=1).softmax(dim=0)


def propagate(scores: Tensor, weights: Tensor, dilations: Sequence[int], num_iter: int) -> Tensor:
    """Replace every score by the weighted mean of its neighbours' scores, ``num_iter`` times.

    Args:
        scores: ``(Q, H, W)``.
        weights: ``affinity`` of the image, ``(8 * len(dilations), H, W)``.
        dilations: Those of ``weights``.
        num_iter: Number of rounds.

    Returns:
        ``(Q, H, W)``; each text embedding's scores are refined on their own.
    """
    for _ in range(num_iter):
        refined = torch.zeros_like(scores)
        for neighbour, weight in zip(_shifted(scores, dilations), weights):
            refined.addcmul_(neighbour, weight)
        scores = refined
    return scores


def _shifted(maps: Tensor, dilations: Sequence[int]) -> Iterator[Tensor]:
    """The 8 neighbours of every pixel of ``maps (C, H, W)`` at each dilation, as views ``(C, H, W)``."""
    height, width = maps.shape[1:]
    largest = max(dilations)
    padded = F.pad(maps.unsqueeze(0), [largest] * 4, mode='replicate')[0]
    for dilation in dilations:
        for y in (-dilation, 0, dilation):
            for x in (-dilation, 0, dilation):
                if (y, x) != (0, 0):
                    yield padded[:, largest + y:largest + y + height, largest + x:largest + x + width]


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
