"""Reading of images from files, folders, URLs, arrays and PIL images."""
import os
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple, Union
from urllib.parse import unquote, urlparse
from urllib.request import url2pathname

import numpy as np
from PIL import Image

from ovseg.apis.decoding import WITH_ALPHA, decode, is_heif, open_heif, over_white
from ovseg.apis.downloads import download
from ovseg.extras import needed
from ovseg.image_files import BROKEN, FORMATS, MAX_FILE_BYTES, check_content, image_size, open_regular, read_file
from ovseg.utils import one_line, quoted

SUFFIXES = ('.avif', '.bmp', '.gif', '.heic', '.heif', '.hif', '.jfif', '.jp2', '.jpe', '.jpeg', '.jpg', '.pgm', '.png', '.ppm',
            '.ras', '.tif', '.tiff', '.webp')  # in a folder
UNSUPPORTED = ('.arw', '.cr2', '.cr3', '.dng', '.eps', '.exr', '.hdr', '.ico', '.jxl', '.nef', '.orf', '.pcx', '.pfm', '.psd',
               '.raf', '.rw2', '.svg', '.tga')  # images in a folder that are refused by name
URL_SCHEMES = ('http', 'https', 'file')
LONGEST_NAME = 200  # bytes; a file system takes 255, with the endings of results and of their temporary files
NOT_8_BIT = ('I', 'I;16', 'I;16B', 'I;16L', 'I;16N', 'F')  # modes that PIL would clip at 255


@dataclass(frozen=True)
class StoredImage:
    """An image file in a tar file, or in a store that fsspec knows.

    Args:
        place: The tar file or the image: a path, or an address of fsspec (``s3://bucket/a.jpg``).
        stamp: Tells whether ``place`` is still the same.
        size: Of the image file in bytes; None where it is not known.
        member: The name of the image in the tar file; empty outside of one.
        offset: First byte of the image file in ``place``.
    """
    place: Union[Path, str]
    stamp: Tuple[Any, ...]
    size: Optional[int]
    member: str = ''
    offset: int = 0

    def __str__(self) -> str:
        return f'{self.place}/{self.member}' if self.member else str(self.place)

    @property
    def stem(self) -> str:
        """The name for its results; that of a tar file stands before its member's, for others have members of that name."""
        stem = PurePosixPath(str(self.place)).stem
        return f'{stem}_{PurePosixPath(self.member).stem}' if self.member else stem

    def read(self) -> bytes:
        """The content of the image file.

        Raises:
            OSError: it cannot be read.
            ValueError: it has more than ``MAX_FILE_BYTES``, or fewer bytes than when it was found.
        """
        too_large = ValueError(f'cannot read {quoted(str(self))}: it is too large, over {MAX_FILE_BYTES} bytes')
        if self.size is not None and self.size > MAX_FILE_BYTES:
            raise too_large
        content = self._bytes(MAX_FILE_BYTES + 1 if self.size is None else self.size)
        if len(content) > MAX_FILE_BYTES:
            raise too_large
        if self.size is not None and len(content) != self.size:
            raise ValueError(f'cannot read {quoted(str(self))}: it is cut off')
        return content

    def _bytes(self, most: int) -> bytes:
        if isinstance(self.place, Path):
            with open_regular(self.place) as file:
                file.seek(self.offset)
                return file.read(most)
        try:
            store, path = needed('fsspec', 'ray', quoted(self.place)).core.url_to_fs(self.place)
            return store.cat_file(path, start=self.offset, end=self.offset + most)  # s3fs has another order
        except Exception as error:  # the clients of stores raise errors of their own
            raise OSError(f'cannot get {quoted(str(self))}: {one_line(error)}') from error


Source = Union[str, Path, np.ndarray, Image.Image, StoredImage]


class Unfound(NamedTuple):
    """An item of an iterable that names no image, and the error that says so."""
    item: str
    error: Exception


def find_sources(images: Any) -> Union[List[Source], Iterator[Union[Source, Unfound]]]:
    """Find the sources of images, one per image: a path, a URL, an array or a PIL image.

    Args:
        images: One of these, a folder (its images in the order of their names, not those of its sub-folders; see
            ``other_files``), or several in a sequence or an iterable. A ``file://`` URL counts as the path that it names.

    Returns:
        A list, whose paths all exist; for an iterable that is no sequence an iterator that takes one item at a time, and gives
        an ``Unfound`` for one with an error, so that the items after it are not lost.

    Raises:
        FileNotFoundError: there is no such file or folder.
        TypeError: something else than these; in an iterable, too.
        ValueError: a sequence or a folder without images.
    """
    if isinstance(images, (str, os.PathLike, np.ndarray, Image.Image)) or not isinstance(images, Iterable):
        return _sources_of(images)
    if not isinstance(images, Sequence):
        return (source for item in images for source in _found_or_not(item))
    if not images:
        raise ValueError('there are no images: images is empty')
    return [source for item in images for source in _sources_of(item)]


def other_files(images: Any) -> List[Path]:
    """Entries of the folders among ``images`` that ``find_sources`` leaves out: other endings, hidden files, sub-folders.

    None for an iterable that is no sequence.
    """
    items = [images] if isinstance(images, (str, os.PathLike)) else images if isinstance(images, Sequence) else []
    folders = [_path_or_url(item) for item in items if isinstance(item, (str, os.PathLike)) and item != '']
    return [path for folder in folders if isinstance(folder, Path) and folder.is_dir()
            for path in sorted(folder.iterdir()) if not is_image_name(path)]


def describe(source: Source) -> str:
    """Name of an image in errors and legends."""
    if isinstance(source, (str, Path, StoredImage)):
        return str(source)
    size = source.size if isinstance(source, Image.Image) else source.shape[1::-1]
    return f'{type(source).__name__} of {" x ".join(map(str, size))} pixels'


def new_name(source: Source, index: int, taken: Set[str]) -> str:
    """Name for the results of an image: its file's, without suffix, or its number among all, from 0; added to ``taken``.

    It is cut to ``LONGEST_NAME``. Where it is taken, whatever the case of its letters, ``_2`` or another free number follows.
    """
    path = PurePath(unquote(urlparse(source).path)) if isinstance(source, str) else source
    stem = path.stem if isinstance(path, (PurePath, StoredImage)) else ''
    stem = stem or f'{index:06d}'
    while len(os.fsencode(stem)) > LONGEST_NAME:
        stem = stem[:-1]
    name = stem if stem.casefold() not in taken else f'{stem}_{_free_number(stem.casefold(), taken)}'
    taken.add(name.casefold())
    return name


def _free_number(stem: str, taken: Set[str]) -> int:
    """A number from 2 that makes a free name; found by bisection, because thousands of images may have one name."""
    last, free = 1, 2
    while f'{stem}_{free}' in taken:
        last, free = free, 2 * free
    while free - last > 1:
        middle = (last + free) // 2
        last, free = (middle, free) if f'{stem}_{middle}' in taken else (last, middle)
    return free


def read_image(source: Source, max_pixels: int, bit_depth: Optional[int] = None) -> np.ndarray:
    """Read an image as ``(H, W, 3)`` uint8 BGR.

    Files and what URLs name are decoded by ``decode``. 8-bit images without transparency become what ``LoadImage`` makes of
    them: grey and palette files become BGR, and the EXIF orientation is applied. Arrays are BGR, as OpenCV's, or grey, or BGRA,
    whose alpha is dropped; of PIL images the pixels are taken as they are, transparent ones over white.

    A URL is read by ``download``. A file must be a regular one of at most ``MAX_FILE_BYTES``.

    Args:
        source: See ``find_sources``.
        max_pixels: Larger images are refused.
        bit_depth: Bits of the values in files of more than 8 bits; None scales by their range.

    Raises:
        FileNotFoundError: there is nothing at a URL, or too much.
        TypeError: an array that is not uint8.
        ValueError: no image, a broken one, an animated one, one of several pages or of more than ``max_pixels``, a HEIC image
            without pillow-heif, or an array of another shape. The message names the image.
    """
    if isinstance(source, np.ndarray):
        image = _from_array(source)
        _check_size(source, image.shape[1::-1], max_pixels)
        return image
    if isinstance(source, Image.Image):
        _check_size(source, source.size, max_pixels)
        return _from_pil(source, describe(source))
    name, content = quoted(describe(source)), _content(source)
    if is_heif(content):
        photograph = open_heif(content, name)
        _check_size(source, photograph.size, max_pixels)
        return _from_pil(photograph, name)
    size = image_size(content, name)
    if size is None:
        raise ValueError(f'{name} is no image, or a broken one, or of another kind than {", ".join(FORMATS)} and HEIC')
    _check_size(source, size, max_pixels)
    check_content(content, name)
    return decode(content, name, bit_depth)


def _found_or_not(item: Any) -> Sequence[Union[Source, Unfound]]:
    """``_sources_of``, or the error."""
    try:
        return _sources_of(item)
    except (OSError, ValueError) as error:
        return [Unfound(str(item), error)]


def _sources_of(item: Any) -> List[Source]:
    """The sources in one item: several for a folder."""
    if isinstance(item, (np.ndarray, Image.Image)):
        return [item]
    if not isinstance(item, (str, os.PathLike)):
        raise TypeError('an image is a path, a URL, a NumPy array or a PIL image, and several come as a folder, a sequence or '
                        f'an iterable of these; this is {type(item).__name__}: {item!r:.80}')
    path = _path_or_url(item)
    if isinstance(path, str):
        return [path]
    if path.is_dir():
        files: List[Source] = [file for file in sorted(path.iterdir()) if is_image_name(file)]
        if not files:
            raise ValueError(f'there are no images in {quoted(path)}: no file ends with {", ".join(SUFFIXES)} '
                             '(sub-folders are not looked into)')
        return files
    if not path.is_file():
        raise FileNotFoundError(f'there is no image or folder {quoted(path.absolute())}')
    return [path]


def is_image_name(path: PurePath) -> bool:
    """True for a file that a folder of images is searched for: by its ending, and not hidden."""
    return path.suffix.lower() in (*SUFFIXES, *UNSUPPORTED) and not path.name.startswith('.')


def local_path(url: str) -> str:
    """The path that a ``file://`` URL names.

    Raises:
        FileNotFoundError: the URL names another machine.
        ValueError: it has a query or a fragment, or no path.
    """
    parts = urlparse(url)
    if parts.netloc not in ('', 'localhost'):
        raise FileNotFoundError(f'cannot get {quoted(url)}: a file:// URL names a file of this machine')
    if '?' in url or '#' in url or not parts.path:
        raise ValueError(f'{quoted(url)} must have a path, in which # is written as %23 and ? as %3F')
    return url2pathname(parts.path)


def _path_or_url(item: Union[str, 'os.PathLike[str]']) -> Union[str, Path]:
    """The path that ``item`` names, or ``item`` where it is an ``http`` URL."""
    if isinstance(item, str):
        try:
            scheme = urlparse(item).scheme.lower()
        except ValueError as error:
            raise ValueError(f'{quoted(item)} is no URL: {error}') from error
        if scheme == 'file':
            item = local_path(item)
        elif scheme in URL_SCHEMES:
            return item
    if item == '':  # perhaps an unset variable of the shell; Path('') is the working directory
        raise FileNotFoundError("there is no image or folder ''")
    return Path(os.path.expanduser(item))  # Path.expanduser() raises RuntimeError for an unknown user


def _content(source: Union[str, Path, StoredImage]) -> bytes:
    if isinstance(source, StoredImage):
        return source.read()
    if isinstance(source, Path):
        return read_file(source)
    return download(source)


def _check_size(source: Source, size: Tuple[int, int], max_pixels: int) -> None:
    if size[0] * size[1] > max_pixels:
        raise ValueError(f'{quoted(describe(source))} is too large: {size[0]} x {size[1]} pixels, and '
                         f'max_pixels={max_pixels}. Make it smaller, or raise max_pixels; a pixel takes some 25 '
                         'bytes of memory')


def _from_array(array: np.ndarray) -> np.ndarray:
    if array.dtype != np.uint8:
        raise TypeError(f'an image as an array must be uint8 (0 to 255), not {array.dtype}')
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or channels not in (1, 3, 4) or array.size == 0:
        raise ValueError(f'an image as an array must have shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), not {array.shape}')
    if channels == 1:
        array = np.broadcast_to(array.reshape(*array.shape[:2], 1), (*array.shape[:2], 3))
    return np.ascontiguousarray(array[..., :3])


def _from_pil(image: Image.Image, name: str) -> np.ndarray:
    if image.mode in NOT_8_BIT:
        raise ValueError(f'{name} has mode {image.mode}: convert it to 8 bits per channel')
    if 0 in image.size:
        raise ValueError(f'{name} is empty')
    try:
        if image.mode in WITH_ALPHA or 'transparency' in image.info:
            return over_white(image)
        return np.ascontiguousarray(np.asarray(image.convert('RGB'))[..., ::-1])
    except BROKEN as error:  # PIL reads files late
        raise ValueError(f'cannot read {name}: {one_line(error)}') from error
