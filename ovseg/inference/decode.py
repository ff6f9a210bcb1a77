"""From patch scores to a label map.

Upsampling every window, summing, dividing by the number of windows over a pixel and resizing to the wanted size are all
linear and separable. Per query they are one product ``A @ scores @ B.T`` with matrices that depend on the geometry only.
Cells lie in the order of the image (``AxisWindows.order``), so that a few output rows need a few neighbouring rows of cells.
"""
from functools import lru_cache
from typing import Callable, Iterator, NamedTuple, Optional, Tuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ovseg.inference.windows import AxisWindows, WindowLayout

CPU_STRIP_BYTES = 4 * 2 ** 20  # dense scores that stay in a core's cache between the product and the maximum

Refine = Callable[[Tensor], Tensor]


def bilinear_matrix(size: int, out_size: int) -> Tensor:
    """``(out_size, size)``: bilinear interpolation (align_corners=False) along one axis as a matrix."""
    return F.interpolate(torch.eye(size).unsqueeze(0), size=out_size, mode='linear', align_corners=False)[0].t()


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # what is made for one call may be differentiated through in the next
def axis_operator(axis: AxisWindows, out_size: int, device: torch.device) -> Tensor:
    """``(out_size, windows * cells)``: merges the windows' cells along one axis and resizes to ``out_size``."""
    padded = axis.pad[0] + axis.length + axis.pad[1]
    upsample = bilinear_matrix(axis.cells, padded)[axis.pad[0]:axis.pad[0] + axis.length]
    index = torch.arange(len(axis.starts)).unsqueeze(1)
    pixels = torch.tensor(axis.starts).unsqueeze(1) + torch.arange(axis.length)
    merge = torch.zeros(axis.size, len(axis.starts), axis.cells)
    merge[pixels, index] = upsample
    cover = torch.zeros(axis.size, len(axis.starts))
    cover[pixels, index] = 1
    merge = merge.flatten(1)[:, axis.order] / cover.sum(dim=1, keepdim=True)
    return (bilinear_matrix(axis.size, out_size) @ merge).to(device)


class Strip(NamedTuple):
    """Some output rows and what makes them: ``operator @ cells[band]``."""
    rows: slice
    band: slice
    operator: Tensor


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def row_strips(axis: AxisWindows, out_size: int, rows: int, device: torch.device) -> Tuple[Strip, ...]:
    """The ``axis_operator`` cut into strips of ``rows`` output rows, each without the cells that it does not need."""
    operator = axis_operator(axis, out_size, torch.device('cpu'))
    strips = []
    for start in range(0, out_size, rows):
        part = operator[start:start + rows]
        needed = part.any(dim=0).nonzero().flatten().tolist()
        band = slice(needed[0], needed[-1] + 1)
        strips.append(Strip(slice(start, start + len(part)), band, part[:, band].contiguous().to(device)))
    return tuple(strips)


def merge_windows(scores: Tensor, layout: WindowLayout, out_size: Tuple[int, int]) -> Tensor:
    """Dense scores of an image.

    Args:
        scores: Patch scores of all windows, ``(windows, N, Q)``, row by row.
        layout: Where the windows lie.
        out_size: Wanted ``(height, width)``.

    Returns:
        ``(Q, height, width)`` float32.
    """
    columns = _merge_columns(layout.mosaic(scores).float(), layout, out_size[1])
    return _merge_rows(axis_operator(layout.rows, out_size[0], scores.device), columns).transpose(0, 1)


def best_queries(patches: Tensor, queries: Tensor, layout: WindowLayout, out_size: Tuple[int, int], logit_scale: float = 1.0,
                 with_probability: bool = False, memory_mb: float = 256,
                 refine: Optional[Refine] = None) -> Tuple[Tensor, Optional[Tensor]]:
    """The best query of every pixel, without ever holding the dense scores of all queries.

    Equal to ``merge_windows(patches @ queries.T, ...)``, softmax, max: a chunk of queries at a time, with a running maximum
    and a running sum of exponentials.

    Args:
        patches: ``(windows, N, E)``, row by row.
        queries: ``(Q, E)``.
        layout: Where the windows lie.
        out_size: Wanted ``(height, width)``.
        logit_scale: Multiplies the scores before the softmax.
        with_probability: Compute the softmax over queries too.
        memory_mb: Bound for what a chunk of queries takes; at least one query is taken.
        refine: Maps dense scores ``(q, height, width)`` to refined ones, each query on its own.

    Returns:
        Index ``(height, width)`` int64 of the query of largest score, the first of several; and its probability, or None.
    """
    mosaic, queries = layout.mosaic(patches).float(), queries.float()
    best = patches.new_full(out_size, -torch.inf, dtype=torch.float32)
    index = torch.zeros(out_size, dtype=torch.int64, device=patches.device)
    total = torch.zeros_like(best) if with_probability else None
    chunk_size = _queries_per_chunk(layout, out_size, memory_mb, refine is not None)
    for first in range(0, len(queries), chunk_size):
        chunk = queries[first:first + chunk_size]
        # no name for the columns: it would keep them until the next chunk's are there
        strips = _dense_rows(_merge_columns(mosaic @ chunk.t(), layout, out_size[1]), layout, out_size[0], memory_mb, refine)
        for rows, dense in strips:
            scores, place = _first_max(dense)
            index[rows] = torch.where(scores > best[rows], first + place, index[rows])
            largest = torch.maximum(best[rows], scores)
            if total is not None:
                total[rows] *= (logit_scale * (best[rows] - largest)).exp_()
                total[rows] += dense.sub_(largest.unsqueeze(1)).mul_(logit_scale).exp_().sum(dim=1)
            best[rows] = largest
    return index, None if total is None else total.reciprocal_()


def class_probabilities(scores: Tensor, query_to_class: Tensor, num_classes: int, logit_scale: float) -> Tensor:
    """Softmax over all queries; a class takes the largest probability among its synonyms.

    Args:
        scores: ``(Q, height, width)``.
        query_to_class: Class of each query, ``(Q,)`` int64, ascending.
        num_classes: K.
        logit_scale: Multiplies the scores before the softmax.

    Returns:
        ``(K, height, width)``; sums to 1 over K only where no class has synonyms.
    """
    probabilities = (scores * logit_scale).softmax(dim=0)
    if num_classes == len(query_to_class):
        return probabilities
    index = query_to_class.view(-1, 1, 1).expand_as(probabilities)
    return probabilities.new_zeros(num_classes, *scores.shape[1:]).scatter_reduce_(0, index, probabilities, 'amax')


def label_map(probabilities: Tensor, prob_thd: float = 0.0, bg_idx: int = 0, area_thd: Optional[float] = None) -> Tensor:
    """Most probable class of each pixel.

    Args:
        probabilities: ``(K, height, width)``.
        prob_thd: Pixels whose best probability is under it become ``bg_idx``.
        bg_idx: The background class.
        area_thd: Classes that cover no more than this share of the foreground lose their pixels to the next best class
            (SCLIP).

    Returns:
        ``(height, width)`` int64.
    """
    if area_thd is not None:
        area = probabilities.argmax(dim=0).flatten().bincount(minlength=len(probabilities))
        area[bg_idx] = 0
        kept = area > area_thd * area.sum()
        kept[bg_idx] = True
        probabilities = probabilities * kept.view(-1, 1, 1)
    best, labels = probabilities.max(dim=0)
    return labels.masked_fill_(~(best >= prob_thd), bg_idx) if prob_thd > 0 else labels  # not a number is under it, too


def _merge_columns(scores: Tensor, layout: WindowLayout, width: int) -> Tensor:
    """Mosaic ``(rows * h, cols * w, Q)`` to ``(rows * h, Q, width)``: merged and resized along the width."""
    return scores.transpose(1, 2) @ axis_operator(layout.cols, width, scores.device).t()


def _merge_rows(operator: Tensor, columns: Tensor) -> Tensor:
    """``(cells, Q, width)`` to ``(height, Q, width)``."""
    return (operator @ columns.flatten(1)).unflatten(1, columns.shape[1:])


def _dense_rows(columns: Tensor, layout: WindowLayout, height: int, memory_mb: float,
                refine: Optional[Refine]) -> Iterator[Tuple[slice, Tensor]]:
    """Dense scores ``(rows, Q, width)`` strip by strip; all at once where they are refined, which looks at neighbours."""
    if refine is not None:
        dense = _merge_rows(axis_operator(layout.rows, height, columns.device), columns)
        yield slice(0, height), refine(dense.transpose(0, 1)).transpose(0, 1)
        return
    strip_bytes = CPU_STRIP_BYTES if columns.device.type == 'cpu' else memory_mb * 2 ** 20 / 4
    rows = max(1, int(strip_bytes / (4 * columns[0].numel())))
    for strip in row_strips(layout.rows, height, min(rows, height), columns.device):
        yield strip.rows, _merge_rows(strip.operator, columns[strip.band])


def _first_max(dense: Tensor) -> Tuple[Tensor, Tensor]:
    """Maximum of ``dense (r, Q, w)`` over dim 1, and the first index at which it stands (0 where there is a NaN)."""
    if dense.device.type != 'cpu':
        scores, index = dense.max(dim=1)
        return scores, index
    # A CPU vectorises neither max with its index nor comparisons, but arithmetic: Q - i at maxima, at most 0 elsewhere.
    count = dense.shape[1]
    scores = dense.amax(dim=1)
    reversed_index = torch.arange(count, 0, -1, dtype=dense.dtype).view(1, -1, 1)
    marked = (dense - scores.unsqueeze(1)).sign_().mul_(count).add_(reversed_index)
    return scores, (count - marked.amax(dim=1).nan_to_num_(count)).long()


def _queries_per_chunk(layout: WindowLayout, out_size: Tuple[int, int], memory_mb: float, refined: bool) -> int:
    """How many queries fit into the memory that a chunk may take."""
    cell_rows, cell_cols = (len(axis.starts) * axis.cells for axis in (layout.rows, layout.cols))
    floats = cell_rows * (2 * cell_cols + out_size[1])  # scores of the cells, twice while they are transposed; columns
    if refined:
        floats += 4 * out_size[0] * out_size[1]  # dense scores, padded, and two in turn while they are refined
    return max(1, int(memory_mb * 2 ** 20 / (4 * floats)))
