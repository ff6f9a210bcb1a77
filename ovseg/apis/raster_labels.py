"""Label maps of rasters, made tile by tile."""
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Callable, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ovseg.apis.geotiff import Raster, check_label_file, label_file
from ovseg.apis.tiles import Tile
from ovseg.inference.nonfinite import ignore_label

OVERVIEW = 2048  # longest side of the painted image of a raster, in pixels

Predict = Callable[[List[np.ndarray]], List[np.ndarray]]
Write = Callable[[slice, slice, np.ndarray], None]
ValidTile = Tuple[Tile, np.ndarray, np.ndarray]  # its pixels, BGR, and where there are data


class RasterLabels(NamedTuple):
    """Facts about a raster's label map, after all tiles are labelled.

    Args:
        counts: ``(K,)`` pixels of each class.
        undefined: Pixels with data that have no class.
        valid: Pixels with data.
        image: The raster, reduced to ``OVERVIEW`` pixels at most on each side, BGR.
        labels: Its label map, of the same size.
        rejected: Pixels with data that have no class because of ``decoder.reject``.
    """
    counts: np.ndarray
    undefined: int
    valid: int
    image: np.ndarray
    labels: np.ndarray
    rejected: int = 0


def label_raster(raster: Raster, tiles: Iterable[Tile], predict: Predict, palette: Sequence[Sequence[int]], batch_size: int,
                 labels: Optional[np.ndarray], path: Optional[Path]) -> RasterLabels:
    """Write the label map of a raster into ``labels (H, W)``, a GeoTIFF at ``path``, or both; see ``label_tiles``."""
    count = len(palette)
    with ExitStack() as stack:
        to_file: Optional[Write] = None
        if path is not None:
            to_file = stack.enter_context(label_file(path, raster, np.dtype(np.min_scalar_type(count)), palette))

        def write(rows: slice, columns: slice, part: np.ndarray) -> None:
            if labels is not None:
                labels[rows, columns] = part
            if to_file is not None:
                to_file(rows, columns, part)

        found = label_tiles(raster, tiles, predict, count, batch_size, write)
    if path is not None:
        check_label_file(path, found.counts)
    return found


def label_tiles(raster: Raster, tiles: Iterable[Tile], predict: Predict, count: int, batch_size: int,
                write: Write) -> RasterLabels:
    """Label a raster tile by tile; tiles without data are left out.

    Args:
        raster: The raster.
        tiles: Each labels a part of it, and together they label all of it.
        predict: The label maps ``(h, w)`` of images ``(h, w, 3)``, BGR; ``ignore_label(count)`` is no class, and one more a
            rejected pixel.
        count: Number of classes, K.
        batch_size: Images that ``predict`` takes at a time.
        write: Takes rows and columns of the raster and their labels, ``ignore_label(count)`` where there are no data.
    """
    height, width = raster.size
    step = -(-max(height, width) // OVERVIEW)
    ignore = ignore_label(count)
    image = np.zeros((-(-height // step), -(-width // step), 3), np.uint8)
    labels = np.full(image.shape[:2], ignore, np.min_scalar_type(count))
    counts = np.zeros(count, np.int64)
    undefined = valid_pixels = rejected = 0
    valid_tiles = _with_data(raster, tiles)
    for batch in iter(lambda: list(islice(valid_tiles, batch_size)), []):
        for ((rows, columns), pixels, valid), found in zip(batch, predict([pixels for _, pixels, _ in batch])):
            own = rows.labelled, columns.labelled
            part = np.where(valid[own], np.minimum(found[own], ignore), ignore).astype(labels.dtype)
            write(slice(rows.first, rows.last), slice(columns.first, columns.last), part)
            counts += np.bincount(part[part != ignore], minlength=count)
            valid_pixels += int(np.count_nonzero(valid[own]))
            undefined += int(np.count_nonzero(valid[own] & (found[own] == ignore)))
            rejected += int(np.count_nonzero(valid[own] & (found[own] > ignore)))
            # Every step-th pixel of the raster, counted from its first.
            inside = (slice(-rows.first % step, None, step), slice(-columns.first % step, None, step))
            reduced = part[inside]
            place = (slice(-(-rows.first // step), -(-rows.first // step) + reduced.shape[0]),
                     slice(-(-columns.first // step), -(-columns.first // step) + reduced.shape[1]))
            labels[place], image[place] = reduced, pixels[own][inside]
    return RasterLabels(counts, undefined, valid_pixels, image, labels, rejected)


def unlabelled(size: Tuple[int, int], count: int) -> np.ndarray:
    """A label map ``(H, W)`` of ``count`` classes without any label."""
    return np.full(size, ignore_label(count), np.min_scalar_type(count))


def _with_data(raster: Raster, tiles: Iterable[Tile]) -> Iterator[ValidTile]:
    """The tiles that label a pixel with data."""
    for tile in tiles:
        pixels, valid = raster.read(tile)
        if valid[tile.rows.labelled, tile.columns.labelled].any():
            yield tile, pixels, valid
