"""From patch scores to a label map.

Upsampling every window, summing, dividing by the number of windows over a pixel and resizing to the output size are all
linear and separable. Per text embedding they are one product ``A @ scores @ B.T`` with matrices that depend on the geometry
only. Cells lie in the order of the image (``AxisWindows.order``), so that these matrices are banded: an output row needs a few
neighbouring rows of cells. They are stored as ``Strip``s, which hold the bands alone, and memory and time grow linearly with
the sides of an image.
"""
from typing import Callable, Iterator, NamedTuple, Optional, Protocol, Tuple, Union, cast

import torch
from torch import Tensor

from ovseg.inference.cache import keep_recent
from ovseg.inference.windows import AxisWindows, WindowLayout

CPU_STRIP_BYTES = 4 * 2 ** 20  # dense scores that stay in a core's cache between the product and the maximum
OUTPUTS_PER_STRIP = 640  # products with less are slower, and with more take in many cells that their outputs do not need

Refine = Callable[[Tensor], Tensor]


class Product(Protocol):
    """Patches that are not held: only their product with text embeddings is there, ``patches @ texts.t()``."""

    @property
    def device(self) -> torch.device:
        """The device of the scores."""

    def __matmul__(self, texts: Tensor) -> Tensor:
        """Scores ``(windows, N, q)`` of ``texts (E, q)``."""


Patches = Union[Tensor, Product]


def bilinear_taps(size: int, index: Tensor, out_size: int) -> Tuple[Tensor, Tensor]:
    """Bilinear interpolation (align_corners=False) along one axis of ``size`` resized to ``out_size``.

    Args:
        size: Number of inputs.
        index: The outputs that are wanted, ``(n,)`` int64.
        out_size: Number of outputs.

    Returns:
        The two inputs of each output, ``(n, 2)`` int64, and their weights, ``(n, 2)`` float64, which sum to 1.
    """
    position = ((index.double() + 0.5) * (size / out_size) - 0.5).clamp_(0, size - 1)
    low = position.long()
    fraction = position - low
    return torch.stack([low, (low + 1).clamp_(max=size - 1)], dim=1), torch.stack([1 - fraction, fraction], dim=1)


def axis_entries(axis: AxisWindows, out_size: int) -> Tuple[Tensor, Tensor, Tensor]:
    """The matrix that merges the windows' cells along one axis and resizes to ``out_size``, entry by entry.

    Returns:
        Of each entry its output, ascending, its cell as a place in ``axis.order``, both ``(n,)`` int64, and its value
        ``(n,)`` float64. Entries of the same output and cell add up.
    """
    starts, order = torch.tensor(axis.starts), axis.order
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    pixel, share = (taps.flatten() for taps in bilinear_taps(axis.size, torch.arange(out_size), out_size))
    first = torch.searchsorted(starts, pixel - axis.length, right=True)  # of the windows over a pixel
    count = torch.searchsorted(starts, pixel, right=True) - first
    tap = torch.arange(len(pixel)).repeat_interleave(count)  # one for each window over the pixel of a tap
    window = first[tap] + torch.arange(len(tap)) - (count.cumsum(0) - count)[tap]
    in_window = pixel[tap] - starts[window] + axis.pad[0]
    cell, weight = bilinear_taps(axis.cells, in_window, axis.pad[0] + axis.length + axis.pad[1])
    weight *= (share / count)[tap].unsqueeze(1)
    output = (tap // 2).unsqueeze(1).expand_as(cell)
    used = weight != 0
    return output[used], place[window.unsqueeze(1) * axis.cells + cell][used], weight[used]


class Strip(NamedTuple):
    """A range of outputs and the cells that they are computed from: ``operator @ cells[band]``."""
    outputs: slice
    band: slice
    operator: Tensor


@keep_recent
def axis_strips(axis: AxisWindows, out_size: int, length: int, device: torch.device) -> Tuple[Strip, ...]:
    """The matrix of ``axis_entries`` in strips of ``length`` outputs, each without the cells that it does not need."""
    output, place, value = axis_entries(axis, out_size)
    starts = torch.arange(0, out_size, length)
    lengths = (out_size - starts).clamp_(max=length)
    strip = output // length
    first = torch.full_like(starts, len(axis.starts) * axis.cells).scatter_reduce_(0, strip, place, 'amin')
    widths = torch.zeros_like(starts).scatter_reduce_(0, strip, place, 'amax') + 1 - first
    sizes = lengths * widths
    index = (sizes.cumsum(0) - sizes)[strip] + output % length * widths[strip] + place - first[strip]
    operators = value.new_zeros(int(sizes.sum())).index_add_(0, index, value).float().to(device).split(sizes.tolist())
    return tuple(Strip(slice(start, start + rows), slice(low, low + cells), operator.view(rows, cells))
                 for start, rows, low, cells, operator in zip(starts.tolist(), lengths.tolist(), first.tolist(),
                                                              widths.tolist(), operators))


def merge_windows(scores: Tensor, layout: WindowLayout, out_size: Tuple[int, int]) -> Tensor:
    """Dense scores of an image.

    Args:
        scores: Patch scores of all windows, ``(windows, N, Q)``, row by row.
        layout: Where the windows lie.
        out_size: Wanted ``(height, width)``.

    Returns:
        ``(Q, height, width)`` float32.
    """
    return _dense(_merge_columns(layout.mosaic(scores).float(), layout, out_size[1]), layout, out_size[0]).transpose(0, 1)


def best_texts(patches: Patches, texts: Optional[Tensor], layout: WindowLayout, out_size: Tuple[int, int],
               logit_scale: float = 1.0, with_probability: bool = False, memory_mb: float = 256,
               refine: Optional[Refine] = None, class_of: Optional[Tensor] = None) -> 'Best':
    """The best text embedding of every pixel, without ever holding the dense scores of all text embeddings.

    Equal to ``merge_windows(patches @ texts.T, ...)``, softmax, max: a chunk of text embeddings at a time, with a running
    maximum and a running sum of exponentials.

    Args:
        patches: ``(windows, N, E)``, row by row; without ``texts`` the scores themselves, ``(windows, N, Q)``.
        texts: ``(Q, E)``, or None.
        layout: Where the windows lie.
        out_size: Wanted ``(height, width)``.
        logit_scale: Multiplies the scores before the softmax.
        with_probability: Compute the softmax over text embeddings too.
        memory_mb: Bound for what a chunk of text embeddings takes; at least one is taken.
        refine: Maps dense scores ``(q, height, width)`` to refined ones, each on its own.
        class_of: Class of each text embedding, ``(Q,)`` int64; keeps the largest score of another class too.
    """
    mosaic_scores = _mosaic_scores(patches, texts, layout)
    count = cast(Tensor, patches).shape[2] if texts is None else len(texts)
    best = Best(out_size, patches.device, logit_scale, with_probability, class_of)
    # refined: dense scores, padded, and two in turn
    chunk_size = texts_per_chunk(layout, out_size[1], memory_mb, 0 if refine is None else 4 * out_size[0] * out_size[1])
    for first in range(0, count, chunk_size):
        chunk = slice(first, first + chunk_size)
        # no name for the columns: it would keep them until the next chunk's are there
        strips = _dense_rows(_merge_columns(mosaic_scores(chunk), layout, out_size[1]), layout, out_size[0],
                             memory_mb, refine)
        for rows, dense in strips:
            best.update(rows, first, dense)
    return best


class Best:
    """The largest score of each pixel, and its softmax, of scores that come a few at a time.

    Args:
        size: Height and width.
        device: Of the scores.
        logit_scale: Multiplies the scores before the softmax.
        with_probability: Compute the softmax too.
        class_of: Class of each score, ``(Q,)`` int64; keeps the largest score of another class too. None for neither.

    Attributes:
        index: The scores that are the largest, ``(height, width)`` int64; of several, the first.
    """

    def __init__(self, size: Tuple[int, int], device: torch.device, logit_scale: float, with_probability: bool,
                 class_of: Optional[Tensor] = None) -> None:
        self.logit_scale, self.class_of = logit_scale, class_of
        self.largest = torch.full(size, -torch.inf, device=device)
        self.index = torch.zeros(size, dtype=torch.int64, device=device)
        self.total = torch.zeros(size, device=device) if with_probability else None
        self.second = None if class_of is None else torch.full(size, -torch.inf, device=device)  # the largest of another class

    def update(self, rows: slice, first: int, dense: Tensor) -> None:
        """Take in the scores ``first, first + 1, ...`` of some rows, ``(rows, q, width)``, which are written to."""
        scores, place = _first_max(dense)
        before = None if self.class_of is None else self.class_of[self.index[rows]]
        self.index[rows] = torch.where(scores > self.largest[rows], first + place, self.index[rows])
        if before is not None:
            self._update_second(rows, first, dense, before)
        largest = torch.maximum(self.largest[rows], scores)
        if self.total is not None:
            self.total[rows] *= (self.logit_scale * (self.largest[rows] - largest)).exp_()
            self.total[rows] += dense.sub_(largest.unsqueeze(1)).mul_(self.logit_scale).exp_().sum(dim=1)
        self.largest[rows] = largest

    def _update_second(self, rows: slice, first: int, dense: Tensor, before: Tensor) -> None:
        """Take the scores into ``second``; ``before`` is the class that was the best up to now, ``(rows, width)``."""
        class_of, second = cast(Tensor, self.class_of), cast(Tensor, self.second)
        now = class_of[self.index[rows]]
        others = dense.masked_fill(class_of[first:first + dense.shape[1]].view(1, -1, 1) == now.unsqueeze(1), -torch.inf)
        # A class that was the best is the best of the others as soon as it is not the best any more.
        second[rows] = torch.where(now == before, second[rows], self.largest[rows]).maximum(others.amax(dim=1))

    def probability(self) -> Optional[Tensor]:
        """The softmax of the largest score, ``(height, width)``; None if it was not wanted."""
        return None if self.total is None else self.total.reciprocal()

    def confidence(self) -> Optional[Tensor]:
        """The softmax of the largest score, and by how much it is larger than that of any other class, ``(2, height, width)``;
        None without ``class_of`` or softmax.
        """
        if self.total is None or self.second is None:
            return None
        # 1 - exp(d) by expm1: classes that are almost as probable as the largest keep their difference
        margin = (self.logit_scale * (self.second - self.largest)).expm1_().neg_()
        return torch.stack([torch.ones_like(margin), margin]).div_(self.total)


def patch_scores(patches: Patches, texts: Optional[Tensor],
                 chunk: Union[slice, Tensor] = slice(None)) -> Tensor:
    """Scores ``(windows, N, q)`` of a chunk of texts, a range or a mask ``(Q,)``; other arguments as in ``best_texts``."""
    return cast(Tensor, patches)[..., chunk] if texts is None else patches @ texts[chunk].float().t()


def _mosaic_scores(patches: Patches, texts: Optional[Tensor], layout: WindowLayout) -> Callable[[slice], Tensor]:
    """A function that gives the mosaic of the scores of a chunk of texts."""
    if isinstance(patches, Tensor):
        mosaic = layout.mosaic(patches).float()
        return lambda chunk: patch_scores(mosaic, texts, chunk)
    return lambda chunk: layout.mosaic(patch_scores(patches, texts, chunk))


def class_probabilities(scores: Tensor, class_of: Tensor, num_classes: int, logit_scale: float) -> Tensor:
    """Softmax over all text embeddings; a class takes the largest probability among its synonyms.

    Args:
        scores: ``(Q, height, width)``.
        class_of: Class of each text embedding, ``(Q,)`` int64, ascending.
        num_classes: K.
        logit_scale: Multiplies the scores before the softmax.

    Returns:
        ``(K, height, width)``; sums to 1 over K only where no class has synonyms.
    """
    return best_of_class((scores * logit_scale).softmax(dim=0), class_of, num_classes)


def best_of_class(values: Tensor, class_of: Tensor, num_classes: int) -> Tensor:
    """Largest value of each class, ``(K, height, width)``, of values ``(Q, height, width)``; arguments as above."""
    if num_classes == len(class_of):
        return values
    index = class_of.view(-1, 1, 1).expand_as(values)
    return values.new_full((num_classes, *values.shape[1:]), -torch.inf).scatter_reduce_(0, index, values, 'amax')


def confidence_of(probabilities: Tensor) -> Tensor:
    """The largest of ``probabilities (K, height, width)`` and its margin to the second, ``(2, height, width)``; one class has a
    second of 0.
    """
    largest = probabilities.topk(min(2, len(probabilities)), dim=0).values
    return torch.stack([largest[0], largest[0] - largest[1] if len(largest) > 1 else largest[0]])


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
    strips = axis_strips(layout.cols, width, OUTPUTS_PER_STRIP, scores.device)
    products = (scores[:, strip.band].transpose(1, 2) @ strip.operator.t() for strip in strips)
    if len(strips) == 1:
        return next(products)
    columns = scores.new_empty(scores.shape[0], scores.shape[2], width)
    for strip, product in zip(strips, products):
        columns[..., strip.outputs] = product
    return columns


def _merge_rows(columns: Tensor, layout: WindowLayout, height: int,
                memory_mb: float = 256) -> Iterator[Tuple[slice, Tensor]]:
    """``(rows * h, Q, width)`` to rows of the output and their dense scores ``(rows, Q, width)``, strip by strip."""
    strip_bytes = CPU_STRIP_BYTES if columns.device.type == 'cpu' else memory_mb * 2 ** 20 / 4
    rows = max(1, int(strip_bytes / (4 * columns[0].numel())))
    for strip in axis_strips(layout.rows, height, min(rows, OUTPUTS_PER_STRIP), columns.device):
        yield strip.outputs, (strip.operator @ columns[strip.band].flatten(1)).unflatten(1, columns.shape[1:])


def _dense(columns: Tensor, layout: WindowLayout, height: int) -> Tensor:
    """``(rows * h, Q, width)`` to ``(height, Q, width)``."""
    dense = columns.new_empty(height, *columns.shape[1:])
    for rows, scores in _merge_rows(columns, layout, height):
        dense[rows] = scores
    return dense


def _dense_rows(columns: Tensor, layout: WindowLayout, height: int, memory_mb: float,
                refine: Optional[Refine]) -> Iterator[Tuple[slice, Tensor]]:
    """Dense scores ``(rows, Q, width)`` strip by strip; all at once where they are refined, which looks at neighbours."""
    if refine is not None:
        yield slice(0, height), refine(_dense(columns, layout, height).transpose(0, 1)).transpose(0, 1)
        return
    yield from _merge_rows(columns, layout, height, memory_mb)


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


def texts_per_chunk(layout: WindowLayout, width: int, memory_mb: float, maps: int = 0) -> int:
    """Number of text embeddings that fit into the memory that a chunk may take.

    Args:
        layout: Where the windows lie.
        width: Of the dense scores.
        memory_mb: The memory.
        maps: Numbers that are held of each text beside the scores of cells and columns.
    """
    cell_rows, cell_cols = (len(axis.starts) * axis.cells for axis in (layout.rows, layout.cols))
    floats = cell_rows * (2 * cell_cols + width) + maps  # scores of the cells, twice while they are transposed; columns
    return max(1, int(memory_mb * 2 ** 20 / (4 * floats)))
