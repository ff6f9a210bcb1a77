"""Image files: read within size limits, and checked before they are decoded."""
import io
import os
import re
import stat
import struct
import warnings
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Iterator, List, Optional, Tuple, Union

from PIL import Image

from ovseg.utils import quoted

MAX_FILE_BYTES = 2 ** 29
MAX_JPEG_SCANS = 100  # as in libtiff; encoders write about ten
PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'
FORMATS = ('AVIF', 'BMP', 'GIF', 'JPEG', 'JPEG2000', 'PNG', 'PPM', 'SUN', 'TIFF', 'WEBP')  # which OpenCV can decode

JPEG_MARKER = re.compile(rb'\xff([\xc0-\xcf\xd9-\xfe])')  # of a segment or of the end: no stuffed 00, no restart marker

# What Pillow raises for broken files: SyntaxError for PNG, OverflowError and ValueError for PPM, RuntimeError for AVIF, ...
BROKEN = (OSError, ValueError, SyntaxError, ArithmeticError, LookupError, TypeError, EOFError, RuntimeError, struct.error,
          zlib.error, Image.DecompressionBombError)


@contextmanager
def open_regular(path: Union[str, Path]) -> Iterator[BinaryIO]:
    """A regular file, open for reading.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is a device, a pipe or a folder, which might never end.
    """
    nonblock = getattr(os, 'O_NONBLOCK', 0)  # a pipe without a writer would be waited for
    with open(path, 'rb', opener=lambda name, flags: os.open(name, flags | nonblock)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError(f'cannot read {quoted(path)}: it is no regular file')
        yield file


def read_file(path: Union[str, Path]) -> bytes:
    """The content of a regular file.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is no regular one, or has more than ``MAX_FILE_BYTES``.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_FILE_BYTES:
            raise ValueError(f'cannot read {quoted(path)}: it is too large, {size} bytes of at most {MAX_FILE_BYTES}')
        return file.read(MAX_FILE_BYTES)


def decoded(path: Path, what: str = 'image') -> Image.Image:
    """The decoded image of a file. Pillow's decoder checks no checksum of a PNG's pixels; ``verify`` does.

    Raises:
        ValueError: the file is missing, damaged or too large; names it as a ``what``.
    """
    try:
        with Image.open(path) as image:
            image.verify()
        with Image.open(path) as image:
            image.load()
            return image
    except BROKEN as error:
        raise ValueError(f'cannot read {what} {quoted(path)}: {error}') from error


def known_formats() -> List[str]:
    """Those of ``FORMATS`` that this Pillow knows."""
    Image.init()
    return [format_ for format_ in FORMATS if format_ in Image.OPEN]


def image_size(content: bytes, name: str) -> Optional[Tuple[int, int]]:
    """Width and height from the header of an image file; None where Pillow does not recognise it or its header is broken.

    Raises:
        ValueError: more than twice ``PIL.Image.MAX_IMAGE_PIXELS``; the message has the file's ``name``.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of broken metadata, and of sizes from half that limit on
            return Image.open(io.BytesIO(content), formats=known_formats()).size
    except Image.DecompressionBombError as error:
        raise ValueError(f'{name} is too large: {error} PIL.Image.MAX_IMAGE_PIXELS sets the limit') from error
    except BROKEN:
        return None


def check_content(content: bytes, name: str) -> None:
    """Refuse files whose decoding would take much memory or time for nothing, or give an image that is partly grey.

    A PNG of 69 bytes may claim a chunk of 4 GB, for which OpenCV allocates memory before it reads it. A scan of a progressive
    JPEG may have 40 bytes, and each is decoded for all pixels. OpenCV 4 fills up what is missing of a JPEG with grey.

    Raises:
        ValueError: it is cut off, or a JPEG of more than ``MAX_JPEG_SCANS`` scans; the message names it.
    """
    claim = _png_claim(content)
    if claim is not None:
        raise ValueError(f'cannot read {name}: the image is cut off or damaged: {claim}')
    if not content.startswith(b'\xff\xd8'):
        return
    if _has_too_many_scans(content):
        raise ValueError(f'cannot read {name}: it is a JPEG of more than {MAX_JPEG_SCANS} scans')
    if _is_cut_off_jpeg(content):
        raise ValueError(f'cannot read {name}: the image is cut off')


def _png_claim(content: bytes) -> Optional[str]:
    """The first chunk of a PNG that claims to be longer than the file."""
    if not content.startswith(PNG_SIGNATURE):
        return None
    start, kind = len(PNG_SIGNATURE), b''
    while kind != b'IEND' and start + 8 <= len(content):
        length, kind = struct.unpack_from('>I4s', content, start)
        start += 12 + length  # with its checksum
        if start > len(content):
            return f'chunk {kind.decode("latin-1")!a} claims {length} bytes, {start - len(content)} more than there are'
    return None


def _has_too_many_scans(content: bytes) -> bool:
    """Count the scans of a JPEG up to its end marker; markers within segments, as those of a thumbnail, do not count."""
    scans, marker = 0, JPEG_MARKER.search(content)
    while marker is not None and marker.group(1) != b'\xd9' and scans <= MAX_JPEG_SCANS:
        scans += marker.group(1) == b'\xda'
        length = int.from_bytes(content[marker.end():marker.end() + 2], 'big')
        marker = JPEG_MARKER.search(content, marker.end() + length)
    return scans > MAX_JPEG_SCANS


def _is_cut_off_jpeg(content: bytes) -> bool:
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(content), formats=['JPEG']) as image:
            warnings.simplefilter('ignore')
            image.draft('L', (1, 1))  # all of the file is decoded, but to few pixels
            image.load()
    except BROKEN:
        return True
    return False
