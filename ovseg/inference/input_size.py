"""Scores of classes that are put together at the size of the network's input, and resized after that."""
from itertools import accumulate
from typing import Iterator, List, Optional, Tuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ovseg.inference.decode import Patches, Refine, best_of_class, merge_windows, patch_scores, texts_per_chunk
from ovseg.inference.windows import WindowLayout

REFINED_MAPS = 8  # of input size, for each text: seeds, and what a refiner that solves equations holds


def class_scores(patches: Patches, texts: Optional[Tensor], class_of: Tensor, num_classes: int, layout: WindowLayout,
                 out_size: Tuple[int, int], memory_mb: float = 256,
                 refine: Optional[Refine] = None) -> Iterator[Tuple[int, Tensor]]:
    """Merge windows at the size of the image, refine, take the best text of each class, and resize bilinearly.

    ``best_texts`` resizes all texts and takes the best of a class after that, which gives other scores at borders.

    Args:
        patches: ``(windows, N, E)``; without ``texts`` the scores themselves, ``(windows, N, Q)``.
        texts: ``(Q, E)``, or None.
        class_of: Class of each text, ``(Q,)`` int64, ascending; each class has at least one.
        num_classes: K.
        layout: Where the windows lie, and the size of the image.
        out_size: Wanted ``(height, width)``.
        memory_mb: Bound for what a chunk of texts takes; at least one is taken.
        refine: Maps dense scores ``(q, h, w)`` to refined ones, each on its own.

    Yields:
        A class, and the scores of it and those that follow, ``(k, height, width)`` float32.
    """
    size = (layout.rows.size, layout.cols.size)
    maps = (REFINED_MAPS if refine else 1) * size[0] * size[1] + 2 * out_size[0] * out_size[1]
    chunk_size = texts_per_chunk(layout, size[1], memory_mb, maps)
    for classes, group in _whole_classes(class_of, num_classes, chunk_size):
        best = []
        for first in range(group.start, group.stop, chunk_size):
            chunk = slice(first, min(first + chunk_size, group.stop))
            dense = merge_windows(patch_scores(patches, texts, chunk), layout, size)
            refined = dense if refine is None else refine(dense)
            best.append(best_of_class(refined, class_of[chunk] - classes.start, classes.stop - classes.start))
            del dense, refined
        scores = best[0] if len(best) == 1 else torch.stack(best).amax(dim=0)
        yield classes.start, F.interpolate(scores.unsqueeze(0), out_size, mode='bilinear', align_corners=False)[0]


def _whole_classes(class_of: Tensor, num_classes: int, chunk_size: int) -> List[Tuple[slice, slice]]:
    """Ranges of classes and of their texts, as many classes as have ``chunk_size`` texts together; at least one."""
    counts = [1] * num_classes if num_classes == len(class_of) else class_of.bincount(minlength=num_classes).tolist()
    ends = [0, *accumulate(counts)]
    starts = [0]
    for index in range(1, num_classes):
        if ends[index + 1] - ends[starts[-1]] > chunk_size:
            starts.append(index)
    return [(slice(first, stop), slice(ends[first], ends[stop])) for first, stop in zip(starts, [*starts[1:], num_classes])]
