"""Sliding windows: their layout, and the cutting of an image into one batch of them."""
from dataclasses import dataclass, replace
from typing import Callable, Dict, List, Sequence, Tuple, Union

import torch
from torch import Tensor
from torch.nn import functional as F

from ovseg.inference.cache import keep_recent
from ovseg.progress import report
from ovseg.utils import check_choice, check_integer

PAD_MODES = ('center', 'none')


def window_starts(size: int, crop: int, stride: int) -> Tuple[int, ...]:
    """Starts of the windows along one axis; the last one is shifted back so that it ends with the image."""
    return tuple(min(start, size - crop) for start in range(0, max(size - crop + stride - 1, 0) + 1, stride))


@dataclass(frozen=True)
class AxisWindows:
    """The windows along one image axis, in pixels.

    Args:
        size: The image.
        starts: Where each window begins.
        length: A window, before padding.
        cells: Patches of a window.
        pad: Zeros before and after a window.
    """
    size: int
    starts: Tuple[int, ...]
    length: int
    cells: int
    pad: Tuple[int, int]

    @classmethod
    def plan(cls, size: int, crop: int, stride: int, patch: int, pad_mode: str) -> 'AxisWindows':
        """Windows of ``crop`` pixels (0, or more than the image: the whole image) every ``stride`` pixels.

        ``pad_mode='center'`` pads each window with zeros on both sides to a multiple of ``patch``; ``'none'`` leaves it
        to the patch embedding to drop the remainder.

        Raises:
            ValueError: an image without pixels, or ``'none'`` for an image smaller than one patch.
        """
        if size < 1:
            raise ValueError(f'an image side of {size} pixels: the image is empty')
        length = min(crop, size) if crop else size
        starts = window_starts(size, length, stride) if crop else (0,)
        if pad_mode == 'center':
            missing = -length % patch
            return cls(size, starts, length, (length + missing) // patch, (missing // 2, missing - missing // 2))
        if length < patch:
            raise ValueError(f"an image side of {size} pixels is under one patch ({patch}), and pad_mode='none' cannot "
                             "enlarge it: use pad_mode='center' or a larger image")
        return cls(size, starts, length, length // patch, (0, 0))

    @property
    def centres(self) -> Tensor:
        """Centres of the windows' cells in pixels of the image, ``(windows, cells)`` float32."""
        centres = (torch.arange(self.cells) + 0.5) * (sum(self.pad) + self.length) / self.cells - self.pad[0]
        return torch.tensor(self.starts).unsqueeze(1) + centres

    @property
    def order(self) -> Tensor:
        """All windows' cells, numbered window by window, from one end of the image to the other: ``(windows * cells,)``.

        Cells that lie next to each other in the image, whichever window they are of, lie next to each other in this order.
        """
        return self.centres.flatten().argsort(stable=True)


@dataclass(frozen=True)
class WindowLayout:
    """The windows of an image: every pair of a row of windows and a column of windows."""
    rows: AxisWindows
    cols: AxisWindows

    @classmethod
    def plan(cls, image_size: Tuple[int, int], crop: int, stride: int, patch: Tuple[int, int],
             pad_mode: str = 'center') -> 'WindowLayout':
        """See ``AxisWindows.plan``; ``image_size`` and ``patch`` are ``(height, width)``."""
        rows, cols = (AxisWindows.plan(size, crop, stride, p, pad_mode) for size, p in zip(image_size, patch))
        return cls(rows, cols)

    def __len__(self) -> int:
        return len(self.rows.starts) * len(self.cols.starts)

    @property
    def size(self) -> Tuple[int, int]:
        """Height and width of the image in pixels."""
        return self.rows.size, self.cols.size

    def on_grid(self, grid_size: Tuple[int, int]) -> 'WindowLayout':
        """The same windows with ``grid_size`` cells each, spread evenly over a window and its padding."""
        rows, cols = (axis if axis.cells == cells else replace(axis, cells=cells)
                      for axis, cells in zip((self.rows, self.cols), grid_size))
        return WindowLayout(rows, cols)

    def cut(self, image: Tensor) -> Tensor:
        """The windows of ``image (C, H, W)``, padded: ``(rows * cols, C, h, w)``, row by row."""
        y, x = (_pixels(axis, image.device) for axis in (self.rows, self.cols))
        windows = image[:, y][..., x]
        return F.pad(windows.permute(1, 3, 0, 2, 4).flatten(0, 1), (*self.cols.pad, *self.rows.pad))

    def mosaic(self, cells: Tensor) -> Tensor:
        """Lay out the values of the windows' cells, ``(rows * cols, h * w, C)``, over the image: ``(rows * h, cols * w, C)``.

        Row r of it is ``rows.order[r]``, column c ``cols.order[c]``; overlapping windows lie interleaved.
        """
        return cells.flatten(0, 1)[_mosaic_index(self, cells.device)]


@dataclass(frozen=True)
class Windows:
    """The component that says how images are cut into windows.

    Args:
        crop: Side of the square windows in pixels; 0 takes the whole image.
        stride: Step between them in pixels.
        pad_mode: ``'center'`` or ``'none'``, see ``AxisWindows.plan``.
        batch_size: Windows per forward pass; ``'auto'`` takes what fits into the GPU's free memory (32 on a CPU).

    Raises:
        ValueError: a number out of range, or an unknown name.
    """
    crop: int = 224
    stride: int = 112
    pad_mode: str = 'center'
    batch_size: Union[int, str] = 32

    def __post_init__(self) -> None:
        if check_integer('windows.crop', self.crop, 0, meaning='pixels, or 0 for the whole image'):
            check_integer('windows.stride', self.stride, 1, self.crop, f'windows.crop={self.crop}: no pixel is left out')
        check_choice('windows.pad_mode', self.pad_mode, PAD_MODES)
        if isinstance(self.batch_size, str):
            check_choice('windows.batch_size', self.batch_size, ['auto'])
        else:
            check_integer('windows.batch_size', self.batch_size, 1, meaning="or 'auto'")

    def plan(self, image_size: Tuple[int, int], patch_size: Tuple[int, int]) -> WindowLayout:
        """The windows of an image; both sizes are ``(height, width)`` in pixels."""
        return WindowLayout.plan(image_size, self.crop, self.stride, patch_size, self.pad_mode)


# Indices are made once per geometry and device: copying them there each time would wait for it.
@keep_recent
def _pixels(axis: AxisWindows, device: torch.device) -> Tensor:
    """``(windows, length)``: the pixels of every window."""
    return (torch.tensor(axis.starts).unsqueeze(1) + torch.arange(axis.length)).to(device)


@keep_recent
def _mosaic_index(layout: WindowLayout, device: torch.device) -> Tensor:
    """``(rows * h, cols * w)``: where in ``(rows * cols * h * w)`` each cell of the mosaic is."""
    (row, y), (col, x) = ((axis.order // axis.cells, axis.order % axis.cells) for axis in (layout.rows, layout.cols))
    window = row.unsqueeze(1) * len(layout.cols.starts) + col
    cell = y.unsqueeze(1) * layout.cols.cells + x
    return (window * (layout.rows.cells * layout.cols.cells) + cell).to(device)


def map_windows(function: Callable[..., Sequence[Tensor]], windows: Sequence[Tensor], batch_size: int,
                *others: Sequence[Tensor]) -> List[Tuple[Tensor, ...]]:
    """Apply ``function`` to the windows of several images in as few batches as possible, and ``report`` each.

    Args:
        function: Maps a batch of equally large windows ``(B, C, h, w)``, and those of ``others``, to tensors ``(B, ...)``.
        windows: Per image ``(n, C, h, w)``; sizes may differ between images.
        batch_size: Windows per call at most.
        *others: More tensors of the same windows, each per image ``(n, ...)``.

    Returns:
        Per image the tensors ``(n, ...)``.
    """
    by_size: Dict[torch.Size, List[int]] = {}
    for index, batch in enumerate(windows):
        by_size.setdefault(batch.shape[1:], []).append(index)
    results: List[Tuple[Tensor, ...]] = [()] * len(windows)
    done, total = 0, sum(map(len, windows))
    for indices in by_size.values():
        together = [torch.cat([each[index] for index in indices]).split(batch_size) for each in (windows, *others)]
        parts = []
        for batches in zip(*together):
            report('windows', done, total)
            parts.append(function(*batches))
            done += len(batches[0])
        mapped = map(torch.cat, zip(*parts))
        counts = [len(windows[index]) for index in indices]
        for index, result in zip(indices, zip(*(each.split(counts) for each in mapped))):
            results[index] = result
    report('windows', done, total)
    return results
