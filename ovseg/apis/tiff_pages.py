"""The pages of a TIFF file, from its directories, without reading pixels."""
import warnings
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Iterator, NamedTuple

from PIL.TiffImagePlugin import ImageFileDirectory_v2

from ovseg.apis.reading import Reading
from ovseg.image_files import BROKEN, open_regular

MAGIC = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')  # the last two of BigTIFF
GEO_TAGS = (33550, 33922, 34264, 34735)  # pixel scale, tie points, transformation, keys of the coordinate system
SUBFILE, WIDTH, HEIGHT, ORIENTATION, SAMPLES = 254, 256, 257, 274, 277
REDUCED_OR_MASK = 1 | 4  # bits of SUBFILE
MOST_SAMPLES = 4  # red, green, blue and alpha


class Page(NamedTuple):
    """A page of a TIFF; width and height are those of the stored pixels, and ``orientation`` is 1 where these are upright."""
    width: int
    height: int
    samples: int
    georeferenced: bool
    orientation: int = 1


def tiff_pages(file: BinaryIO) -> Iterator[Page]:
    """The pages of a TIFF, none for another file; overviews and masks of a page do not count.

    Raises:
        BROKEN: a damaged directory.
    """
    header = file.read(8)
    if not header.startswith(MAGIC):
        return
    if header[2:4] in (b'+\0', b'\0+'):
        header += file.read(8)
    directory, seen = ImageFileDirectory_v2(header), set()
    while directory.next and directory.next not in seen:
        seen.add(directory.next)
        file.seek(directory.next)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of damaged values
            directory.load(file)
        if not directory.get(SUBFILE, 0) & REDUCED_OR_MASK:
            georeferenced = any(tag in directory for tag in GEO_TAGS)
            yield Page(int(directory[WIDTH]), int(directory[HEIGHT]), int(directory.get(SAMPLES, 1)), georeferenced,
                       directory.get(ORIENTATION, 1))


def is_raster(path: Path, max_pixels: int, reading: Reading) -> bool:
    """True for a TIFF that is read window by window.

    It is georeferenced, has more than ``max_pixels`` or more than four bands, or options ``for_rasters`` are given.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it is no regular file.
    """
    with open_regular(path) as file:
        try:
            page = next(tiff_pages(file), None)
        except BROKEN:  # the reader of images refuses it
            return False
    return page is not None and (page.georeferenced or page.width * page.height > max_pixels or page.samples > MOST_SAMPLES
                                 or bool(reading.for_rasters))


def has_several_pages(file: BinaryIO) -> bool:
    """True for a TIFF of more than one page; for ``BROKEN`` see ``tiff_pages``."""
    return len(list(islice(tiff_pages(file), 2))) > 1
