"""TIFF and GeoTIFF files, read and written window by window with rasterio."""
import errno
import warnings
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from mmengine.logging import print_log

from ovseg.apis.decoding import scale, value_limits
from ovseg.apis.reading import Reading
from ovseg.apis.tiff_pages import Page, tiff_pages
from ovseg.apis.tiles import Tile, tiles
from ovseg.extras import needed
from ovseg.image_files import BROKEN, open_regular
from ovseg.utils import one_line, quoted

CACHE_BYTES = 2 ** 28  # of GDAL for blocks that are read and written
MOST_PIXELS = 2 ** 40  # a damaged file may claim more
TURNED = range(2, 9)  # orientations of pixels that are turned or mirrored; readers of images ignore undefined ones
BLOCK = 512  # side of the blocks that are written
SCANNED = 1024  # side of the windows in which the range of values is looked for
SAMPLED = 2 ** 20  # pixels of a raster among which an undeclared fill value is looked for
FILLED = 0.01  # share of the pixels with the lowest or the highest value, from which on it may be a fill value
FAR = 0.05  # its distance from all other values, as a share of their range, from which on it may be one


class Scan(NamedTuple):
    """The values of a raster.

    Args:
        lowest: The lowest of all bands and pixels; 0 without pixels.
        highest: The highest.
        sample: ``(bands, n)`` values of pixels all over the raster, ``SAMPLED`` or few more.
    """
    lowest: float
    highest: float
    sample: np.ndarray

    def fill(self) -> Optional[Tuple[float, float]]:
        """A value that pixels without data seem to have, and the share of such pixels; None where nothing looks like one.

        It is the lowest or the highest, pixels have it in all bands, and no other value is near it.
        """
        for value in (self.lowest, self.highest):
            filled = (self.sample == value).all(axis=0)
            others = self.sample[:, ~filled].astype(np.float64) / 2  # the difference of two values may be too large
            if others.size and filled.mean() >= FILLED and np.abs(others - value / 2).min() > FAR * np.ptp(others):
                return value, float(filled.mean())
        return None


class Raster(NamedTuple):
    """An open TIFF.

    Args:
        name: In errors.
        dataset: The file in rasterio.
        bands: Those that are read, counted from 1: one or three.
        limits: The values that become 0 and 255; None for 8 bits.
        colours: ``(256, 3)`` RGB of a palette, or None.
        masked: The file says that some pixels have no data.
        nodata: Pixels with this value in all bands have none, too; or None.
    """
    name: str
    dataset: Any
    bands: List[int]
    limits: Optional[Tuple[float, float]]
    colours: Optional[np.ndarray]
    masked: bool
    nodata: Optional[float] = None

    @property
    def size(self) -> Tuple[int, int]:
        """Height and width."""
        return self.dataset.height, self.dataset.width

    def read(self, tile: Tile) -> Tuple[np.ndarray, np.ndarray]:
        """The pixels of a tile, ``(h, w, 3)`` uint8 BGR, and where there are data, ``(h, w)`` bool; elsewhere it is black.

        Raises:
            ValueError: they cannot be read; names the file.
        """
        values, valid = self._values(tile)
        values[:, ~valid] = 0 if self.limits is None else self.limits[0]
        if self.colours is not None:
            rgb = self.colours[values[0]]
            rgb[~valid] = 0
        else:
            rgb = (values if self.limits is None else scale(values, *self.limits)).transpose(1, 2, 0)
        return np.ascontiguousarray(np.broadcast_to(rgb[..., ::-1], (*valid.shape, 3))), valid

    def _values(self, tile: Tile) -> Tuple[np.ndarray, np.ndarray]:
        """The values of the bands, ``(bands, h, w)``, and where there are data, ``(h, w)`` bool."""
        rows, columns = tile
        window = ((rows.start, rows.stop), (columns.start, columns.stop))
        with _read_errors(self.name):
            values = self.dataset.read(self.bands, window=window)
            valid = np.ones(values.shape[1:], bool)
            if self.masked:
                valid = self.dataset.read_masks(self.bands, window=window).any(axis=0)
        if values.dtype.kind == 'f':
            valid &= np.isfinite(values).all(axis=0)
        if self.nodata is not None:
            valid &= (values != self.nodata).any(axis=0)
        return values, valid

    def scan(self) -> Scan:
        """The values of the pixels with data."""
        height, width = self.size
        windows = -(-height // SCANNED) * -(-width // SCANNED)
        ranges: List[Tuple[float, float]] = []
        samples: List[np.ndarray] = []
        for tile in tiles(height, width, SCANNED, 0):
            values, valid = self._values(tile)
            found = values[:, valid]
            if found.size:
                ranges.append((float(found.min()), float(found.max())))
                samples.append(found[:, ::-(-found.shape[1] * windows // SAMPLED)].copy())
        if not ranges:
            return Scan(0, 0, np.zeros((len(self.bands), 0)))
        return Scan(min(low for low, _ in ranges), max(high for _, high in ranges), np.concatenate(samples, axis=1))


@contextmanager
def open_raster(path: Path, reading: Reading, max_pixels: int) -> Iterator[Raster]:
    """A TIFF for reading by windows. Values of more than 8 bits need a pass over the file, for their range.

    Args:
        path: The file.
        reading: Its ``bands``, ``bit_depth`` and ``nodata`` count. Without bands those that the file calls red, green and blue
            are taken, or the first three, or the first one of fewer.
        max_pixels: Pixels of the largest block of the file.

    Raises:
        ValueError: rasterio is missing, or the file is damaged, has several pages, another orientation than 1, blocks that are
            too large, a band less, or values of another kind.
    """
    name = quoted(path)
    rasterio = needed('rasterio', 'geo', f'{name}, a GeoTIFF or a large TIFF,')
    with ExitStack() as stack:
        with _read_errors(name):
            with open_regular(path) as file:
                pages = list(islice(tiff_pages(file), 2))
            stack.enter_context(rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES))
            dataset = stack.enter_context(_opened(rasterio, path))
        _check(dataset, name, pages, max_pixels)
        raster = Raster(name, dataset, _bands(dataset, name, reading.bands), None, _colours(dataset), _masked(dataset),
                        reading.nodata)
        if dataset.dtypes[0] != 'uint8':
            scan = raster.scan()
            raster = raster._replace(limits=value_limits(scan.lowest, scan.highest, name, reading.bit_depth))
            if reading.bit_depth is None:
                _warn_of_fill(name, scan)
        yield raster


@contextmanager
def label_file(path: Path, raster: Raster, dtype: np.dtype, palette: Sequence[Sequence[int]]) -> Iterator[Any]:
    """A GeoTIFF for the label map of a raster, with its transform and coordinate system, in compressed blocks.

    What is not written has no data: it has the largest value of ``dtype``, uint8 or uint16. A palette is stored for uint8.

    Yields a function of rows and columns, as slices, and of their labels.
    """
    rasterio = needed('rasterio', 'geo', f'{raster.name}, a GeoTIFF or a large TIFF,')
    source = raster.dataset
    options = dict(driver='GTiff', height=source.height, width=source.width, count=1, dtype=dtype, crs=source.crs,
                   nodata=np.iinfo(dtype).max, tiled=True, blockxsize=BLOCK, blockysize=BLOCK, compress='deflate',
                   BIGTIFF='IF_SAFER', SPARSE_OK=True)
    if not source.transform.is_identity:
        options['transform'] = source.transform
    with _quiet(rasterio), rasterio.open(path, 'w', **options) as target:
        if source.gcps[0]:
            target.gcps = source.gcps
        if dtype == np.uint8:
            target.write_colormap(1, {index: (*colour, 255) for index, colour in enumerate(palette)})
        yield lambda rows, columns, labels: target.write(
            labels, 1, window=((rows.start, rows.stop), (columns.start, columns.stop)))


def check_label_file(path: Path, counts: np.ndarray) -> None:
    """Read a label map again: GDAL does not report that a disk was full when the file was closed.

    Args:
        path: Written by ``label_file``.
        counts: ``(K,)`` pixels of each class that it must have.

    Raises:
        OSError: it has others, or cannot be read.
    """
    rasterio = needed('rasterio', 'geo', f'{quoted(path)}, a GeoTIFF,')
    found = np.zeros(len(counts), np.int64)
    with _quiet(rasterio), rasterio.open(path) as dataset:
        for rows, columns in tiles(dataset.height, dataset.width, SCANNED, 0):
            labels = dataset.read(1, window=((rows.first, rows.last), (columns.first, columns.last)))
            found += np.bincount(labels[labels != dataset.nodata], minlength=len(counts))
    if (found != counts).any():
        raise OSError(errno.EIO, 'the label map is not whole; the disk may be full')


def _opened(rasterio: Any, path: Path) -> Any:
    with _quiet(rasterio):
        return rasterio.open(path.absolute(), driver='GTiff')


@contextmanager
def _quiet(rasterio: Any) -> Iterator[None]:
    """Without the warning of a file that has no transform."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', rasterio.errors.NotGeoreferencedWarning)
        yield


@contextmanager
def _read_errors(name: str) -> Iterator[None]:
    """Name the file in errors of reading it."""
    errors = needed('rasterio.errors', 'geo', name)
    try:
        yield
    except (errors.RasterioError, *BROKEN) as error:
        raise ValueError(f'cannot read {name}: {one_line(error)}') from error


def _check(dataset: Any, name: str, pages: Sequence[Page], max_pixels: int) -> None:
    """Refuse what cannot be read window by window; ``pages`` are the first one or two."""
    if len(pages) > 1:
        raise ValueError(f'{name} has several pages: save those that you need as images')
    turned = [page.orientation for page in pages if page.orientation in TURNED]
    if turned:
        raise ValueError(f'{name} has orientation {turned[0]} (tag 274), and TIFF files that are cut into tiles '
                         'must have orientation 1: store its pixels upright')
    kinds = set(dataset.dtypes)
    if len(kinds) > 1 or np.dtype(dataset.dtypes[0]).kind not in 'uif':
        raise ValueError(f'{name} has values of type {", ".join(sorted(kinds))}; integers or floating-point numbers of one '
                         'type are read')
    if dataset.height * dataset.width > MOST_PIXELS:
        raise ValueError(f'{name} is too large: {dataset.width} x {dataset.height} pixels, at most {MOST_PIXELS} are read')
    rows, columns = dataset.block_shapes[0]
    if rows * columns > max_pixels:
        raise ValueError(f'{name} is stored in blocks of {columns} x {rows} pixels, and max_pixels={max_pixels}: store it in '
                         'smaller ones (gdal_translate -co TILED=YES), or raise max_pixels')


def _warn_of_fill(name: str, scan: Scan) -> None:
    """Warn of a value that would be scaled as one of the image, though it seems to mark pixels without data."""
    found = scan.fill()
    if found is not None:
        value, share = found
        print_log(f'{name}: {share:.0%} of the pixels have the value {value:.17g}, which is far from all others, and the file '
                  f'declares no such value for pixels without data. If it is one, give nodata={value:.17g} '
                  f'(--nodata={value:.17g})', 'current', 30)


def _bands(dataset: Any, name: str, wanted: Optional[Sequence[int]]) -> List[int]:
    if wanted is not None:
        if max(wanted) > dataset.count:
            raise ValueError(f'{name} has no band {max(wanted)}: its bands are 1 to {dataset.count}')
        return list(wanted)
    kinds = [colour.name for colour in dataset.colorinterp]
    if all(colour in kinds for colour in ('red', 'green', 'blue')):
        return [kinds.index(colour) + 1 for colour in ('red', 'green', 'blue')]
    return [1, 2, 3] if dataset.count >= 3 else [1]


def _colours(dataset: Any) -> Optional[np.ndarray]:
    """The palette of a file of one band of 8 bits."""
    if dataset.count > 1 or dataset.dtypes[0] != 'uint8' or dataset.colorinterp[0].name != 'palette':
        return None
    colours = np.zeros((256, 3), np.uint8)
    for index, (*rgb, _) in dataset.colormap(1).items():
        colours[index] = rgb
    return colours


def _masked(dataset: Any) -> bool:
    return any('all_valid' not in [flag.name for flag in flags] for flags in dataset.mask_flag_enums)
