"""LPOSS (Stojnić et al., LPOSS: Label Propagation Over Patches and Pixels for Open-vocabulary Semantic Segmentation, 2025)."""
from typing import Any, Callable, Optional, Tuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ovseg.inference.cache import keep_recent
from ovseg.inference.windows import WindowLayout
from ovseg.models.guides.guide import Guide, build_guide
from ovseg.models.post_processors.post_processor import TextwiseProcessor, guide_of
from ovseg.models.propagation import NeighbourGraph, propagate
from ovseg.models.towers.image_tower import ImageTower
from ovseg.models.window_batch import GuideFeatures
from ovseg.registry import POST_PROCESSORS
from ovseg.utils import check_integer, check_number

LARGEST_ALPHA = 0.9999  # at 1 the system is singular
LARGEST_POWER = 4  # of a distance in pixels, so that it stays finite
SAME_GRID = ('choose a guide of the same patch size, or an upsampler to its grid, e.g. '
             "upsampler=dict(type='BilinearUpsampler', scale=2, normalize=True)")
MAPS_OF_A_STEP = 9  # of the size of the seeds: what conjugate gradients hold at a time


@keep_recent
def patch_centres(layout: WindowLayout, device: torch.device) -> Tensor:
    """Centres of all windows' patches in pixels of the image, ``(windows * N, 2)`` float32, in the order of the patches."""
    rows, columns = layout.rows.centres, layout.cols.centres
    y = rows.view(rows.shape[0], 1, rows.shape[1], 1)
    x = columns.view(1, columns.shape[0], 1, columns.shape[1])
    return torch.stack(torch.broadcast_tensors(y, x), dim=-1).flatten(0, 3).to(device)


def patch_graph(features: Tensor, centres: Tensor, neighbours: int, gamma: float, sigma: float, power: float,
                memory_mb: float = 256) -> NeighbourGraph:
    """The graph of each patch's nearest neighbours: ``max(s, 0)^gamma * exp(-sigma * d^power)``, plus its transpose.

    Args:
        features: ``(n, C)``; s are their cosine similarities. A patch of features that are not finite has no edges.
        centres: ``(n, 2)`` in pixels; d are their distances.
        neighbours: Number of patches of largest similarity, the patch itself among them; all, where there are less.
        gamma: See above, also for the next two.
        sigma: Per pixel to the ``power``.
        power: A positive number.
        memory_mb: Bound for the similarities held at a time.
    """
    finite = features.isfinite().all(dim=1, keepdim=True)
    unit = F.normalize(features.float().masked_fill(~finite, 0), dim=1)
    count, k = len(unit), min(neighbours, len(unit))
    index = torch.empty(count, k, dtype=torch.int32, device=unit.device)
    weights = torch.empty(count, k, device=unit.device)
    chunk_size = max(1, int(memory_mb * 2 ** 20 / (8 * (count + 4 * k))))  # similarities; neighbours with their distances
    for first in range(0, count, chunk_size):
        rows = slice(first, first + chunk_size)
        similarity, nearest = (unit[rows] @ unit.t()).topk(k, dim=1, sorted=False)
        distance = (centres[rows].unsqueeze(1) - centres[nearest]).norm(dim=2)
        weights[rows] = similarity.clamp_(min=0).pow_(gamma).mul_(distance.pow_(power).mul_(-sigma).exp_())
        index[rows] = nearest.int()
    return NeighbourGraph.of(index, weights)


def propagate_over_patches(scores: Tensor, graph: NeighbourGraph, alpha: float, num_iter: int, tolerance: float,
                           memory_mb: float = 256) -> Tensor:
    """``propagate`` of scores ``(n, Q)`` over a graph, a chunk of texts at a time; ``memory_mb`` bounds what a chunk takes."""
    degrees = graph.times(scores.new_ones(len(scores), 1))
    result = torch.empty_like(scores)
    chunk_size = max(1, int(memory_mb * 2 ** 20 / (4 * MAPS_OF_A_STEP * len(scores))))
    for first in range(0, scores.shape[1], chunk_size):
        texts = slice(first, first + chunk_size)
        result[:, texts] = propagate(graph.times, degrees, scores[:, texts], alpha, num_iter, tolerance)
    return result


@POST_PROCESSORS.register_module()
class LPOSS(TextwiseProcessor):
    """Propagates scores over the graph of all patches of an image.

    ``Z`` of ``(I - alpha D^-½ (W + Wᵀ) D^-½) Z = Y`` takes the place of the scores Y, see ``patch_graph`` and ``propagate``.
    ``16 * neighbours`` bytes are held for each patch, about twice that while the graph is built, and a copy of the guide's
    features.

    Args:
        guide: The guide whose features give the similarities, a config as ``build_guide`` takes it. Its grid must be that of
            the scores.
        neighbours: Number of nearest neighbours of a patch, itself included.
        gamma: Exponent of the similarities.
        sigma: Decay with the distance in pixels.
        power: Exponent of the distance, at most 4.
        alpha: Weight of the neighbours, in [0, 1).
        num_iter: Largest number of conjugate gradient steps.
        tolerance: A text is left alone once its residual is at most this share of its scores.
        memory_mb: Bound for the similarities held at a time, and for what the steps of a chunk of texts take.

    Raises:
        ValueError: a number out of range, or a guide that is none.
    """

    def __init__(self, guide: Any, neighbours: int = 400, gamma: float = 3.0, sigma: float = 0.01, power: float = 1.0,
                 alpha: float = 0.95, num_iter: int = 10, tolerance: float = 1e-6, memory_mb: float = 256) -> None:
        self.guide: Guide = build_guide('LPOSS guide', guide)
        self.neighbours = check_integer('LPOSS neighbours', neighbours, 1)
        self.gamma = check_number('LPOSS gamma', gamma, above=True)
        self.sigma = check_number('LPOSS sigma', sigma)
        self.power = check_number('LPOSS power', power, 0, LARGEST_POWER, above=True)
        self.alpha = check_number('LPOSS alpha', alpha, 0, LARGEST_ALPHA)
        self.num_iter = check_integer('LPOSS num_iter', num_iter, 1)
        self.tolerance = check_number('LPOSS tolerance', tolerance, 0, 1)
        self.memory_mb = check_number('LPOSS memory_mb', memory_mb, above=True)

    def check(self, tower: ImageTower, patch_size: Tuple[float, float]) -> None:
        """See ``ScoreProcessor``."""
        own = self.guide.patch_size or tower.patch_size
        if own != patch_size:
            sizes = [f'{height:g} x {width:g}' for height, width in (own, patch_size)]
            raise ValueError(f'post_processors: LPOSS guide has patches of {sizes[0]} pixels, and the scores are those of '
                             f'patches of {sizes[1]}: {SAME_GRID}')

    def prepare(self, layout: WindowLayout, guide: Optional[GuideFeatures]) -> Callable[[Tensor], Tensor]:
        """See ``TextwiseProcessor``; the graph is built once.

        Raises:
            ValueError: there are no features of the guide, or they have another grid than the scores.
        """
        patches, grid_size = guide_of(guide, self)
        own_grid = (layout.rows.cells, layout.cols.cells)
        if grid_size != own_grid:
            raise ValueError(f'LPOSS guide has a grid of {grid_size[0]} x {grid_size[1]} patches and the scores one of '
                             f'{own_grid[0]} x {own_grid[1]}: {SAME_GRID}')
        centres = patch_centres(layout, patches.device)
        graph = patch_graph(patches.flatten(0, 1), centres, self.neighbours, self.gamma, self.sigma, self.power, self.memory_mb)

        def propagated(scores: Tensor) -> Tensor:
            result = propagate_over_patches(scores.flatten(0, 1), graph, self.alpha, self.num_iter, self.tolerance,
                                            self.memory_mb)
            return result.view_as(scores)
        return propagated
