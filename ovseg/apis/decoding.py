"""Decoding of image files of all kinds into 8-bit BGR."""
import io
import warnings
from typing import Optional, Tuple

import cv2
import numpy as np
from PIL import Image, ImageOps

from ovseg.apis.tiff_pages import has_several_pages
from ovseg.extras import needed
from ovseg.image_files import BROKEN, known_formats
from ovseg.utils import one_line

HEIF_BRANDS = (b'heic', b'heix', b'heim', b'heis', b'hevc', b'hevx', b'mif1', b'msf1')
BY_PILLOW = ('GIF', 'AVIF')  # OpenCV 4 reads no GIF, and turns no AVIF
ANIMATED = ('GIF', 'AVIF', 'PNG', 'WEBP')  # a JPEG of two frames is a photograph with a second one for depth or a preview
WITH_ALPHA = ('LA', 'La', 'PA', 'RGBA', 'RGBa')
CUT_OFF = 'the image is cut off, damaged or of a kind that OpenCV cannot read'


def decode(content: bytes, name: str, bit_depth: Optional[int] = None) -> np.ndarray:
    """The image in a file's ``content``, ``(H, W, 3)`` uint8 BGR, turned by its EXIF orientation.

    Transparent pixels are laid over white. Values of more than 8 bits are scaled, see ``to_8_bits``.

    Raises:
        ValueError: a damaged image, an animated one, or several pages; the message has the file's ``name``.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of broken metadata
            with Image.open(io.BytesIO(content), formats=known_formats()) as image:
                _check_single(image, content, name)
                return _decoded(image, content, name, bit_depth)
    except cv2.error as error:  # for some formats, where others give None
        raise ValueError(f'cannot read {name}: {CUT_OFF}') from error
    except BROKEN as error:
        if isinstance(error, ValueError) and name in str(error):
            raise
        raise ValueError(f'cannot read {name}: the image is cut off or damaged: {one_line(error)}') from error


def _decoded(image: Image.Image, content: bytes, name: str, bit_depth: Optional[int]) -> np.ndarray:
    """The pixels of ``content``, whose header Pillow has read as ``image``; see ``decode``."""
    if image.format in BY_PILLOW:
        return over_white(ImageOps.exif_transpose(image))
    pixels: Optional[np.ndarray]
    if image.format == 'TIFF' and image.mode in ('I', 'F'):  # 32 bits, which OpenCV does not read
        pixels = np.repeat(np.asarray(ImageOps.exif_transpose(image))[..., None], 3, axis=2)
    else:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if pixels is None or pixels.ndim != 3:  # the floats of a PFM
        raise ValueError(f'cannot read {name}: {CUT_OFF}')
    if image.mode in WITH_ALPHA or 'transparency' in image.info:
        turned = ImageOps.exif_transpose(image).convert('RGBA')
        return over_white(turned, None if pixels.dtype == np.uint8 else to_8_bits(pixels, name, bit_depth))
    return to_8_bits(pixels, name, bit_depth)


def _check_single(image: Image.Image, content: bytes, name: str) -> None:
    """Refuse an animation, and a TIFF of several pages."""
    frames = getattr(image, 'n_frames', 1)
    if image.format in ANIMATED and frames > 1:
        raise ValueError(f'{name} is an animation of {frames} frames: save those that you need as images')
    if image.format == 'TIFF' and has_several_pages(io.BytesIO(content)):
        raise ValueError(f'{name} has several pages: save those that you need as images')


def over_white(image: Image.Image, colours: Optional[np.ndarray] = None) -> np.ndarray:
    """An image with transparent pixels laid over white, ``(H, W, 3)`` uint8 BGR; ``colours``, BGR, replace its own."""
    rgba = image.convert('RGBA')
    rgb = rgba.convert('RGB') if colours is None else Image.fromarray(np.ascontiguousarray(colours[..., ::-1]))
    white = Image.new('RGB', rgba.size, 'white')
    return np.ascontiguousarray(np.asarray(Image.composite(rgb, white, rgba.getchannel('A')))[..., ::-1])


def is_heif(content: bytes) -> bool:
    """True for a HEIC or HEIF file."""
    return content[4:8] == b'ftyp' and content[8:12] in HEIF_BRANDS


def open_heif(content: bytes, name: str) -> Image.Image:
    """A HEIC or HEIF photograph, upright, whose pixels are decoded when they are needed.

    Raises:
        ValueError: pillow-heif is missing, or the file is damaged; the message has its ``name``.
    """
    heif = needed('pillow_heif', 'heif', f'{name}, a HEIC image,')
    try:
        return heif.HeifImageFile(io.BytesIO(content))
    except BROKEN as error:
        raise ValueError(f'cannot read {name}: the image is cut off or damaged: {one_line(error)}') from error


def value_limits(lowest: float, highest: float, name: str, bit_depth: Optional[int]) -> Tuple[float, float]:
    """The values that become 0 and 255 in an image with values from ``lowest`` to ``highest``.

    Raises:
        ValueError: values that ``bit_depth`` bits do not hold, or all values are equal and not 0.
    """
    if bit_depth is not None:
        if lowest < 0 or highest > 2 ** bit_depth - 1:
            raise ValueError(f'{name} has values from {lowest:g} to {highest:g}, which do not fit into bit_depth={bit_depth}')
        return 0, 2 ** bit_depth - 1
    if lowest == highest != 0:
        raise ValueError(f'all values of {name} are {lowest:g}, so that their range gives no scale: give bit_depth')
    return lowest, highest


def to_8_bits(pixels: np.ndarray, name: str, bit_depth: Optional[int] = None) -> np.ndarray:
    """Scale values of more than 8 bits to 0 to 255: those of ``bit_depth`` bits, or from the lowest to the highest.

    Raises:
        ValueError: see ``value_limits``; or a value that is not finite.
    """
    if pixels.dtype == np.uint8:
        return pixels
    lowest, highest = float(pixels.min()), float(pixels.max())
    if not np.isfinite([lowest, highest]).all():
        raise ValueError(f'{name} has values that are not finite')
    return scale(pixels, *value_limits(lowest, highest, name, bit_depth))


def scale(pixels: np.ndarray, zero: float, full: float) -> np.ndarray:
    """Values from ``zero`` to ``full`` as uint8 from 0 to 255; others are cut off."""
    halves = pixels.astype(np.float64 if pixels.dtype.kind == 'f' else np.float32) / 2  # the difference of two may be too large
    share = (halves - zero / 2) / max(full / 2 - zero / 2, float(np.finfo(np.float32).tiny))
    return (share.clip(0, 1) * 255).round().astype(np.uint8)
