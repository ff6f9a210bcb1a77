"""Uploaded images."""
import math
from pathlib import Path
from typing import NamedTuple, Optional, Tuple

import cv2
import numpy as np

from ovseg.apis.image_sources import read_image
from ovseg.utils import quoted

LONGEST_SIDE = 1024  # of an image on the page, in pixels
READABLE = 120_000_000  # pixels of an image that is read, to be scaled down


class Upload(NamedTuple):
    """An image that was uploaded.

    Args:
        image: ``(H, W, 3)`` uint8 BGR, scaled down to what the page computes with.
        size: Height and width of the image in the file, upright.
    """
    image: np.ndarray
    size: Tuple[int, int]

    @property
    def note(self) -> str:
        """A sentence on the scaling, empty if there was none."""
        height, width = self.image.shape[:2]
        if (height, width) == self.size:
            return ''
        return (f'The image has {self.size[1]} × {self.size[0]} pixels, more than this page computes with. '
                f'It was scaled down to {width} × {height}.')


def read_upload(path: Optional[str], max_pixels: int) -> Upload:
    """Read an uploaded image and scale it down to at most ``max_pixels``. Errors name the file without its folder.

    Raises:
        ValueError: none was chosen, it is no image, a broken one, one of more than ``READABLE`` pixels (or ``max_pixels``, if
            that is more), or no longer there.
    """
    if path is None:
        raise ValueError('there is no image: drop one, or pick an example')
    try:
        image = read_image(Path(path), max(READABLE, max_pixels))  # a string could be a URL
        return Upload(scaled_down(image, max_pixels), image.shape[:2])
    except FileNotFoundError as error:  # old uploads are deleted
        raise ValueError(f'{quoted(Path(path).name)} is not on the server any more: drop it again') from error
    except ValueError as error:
        raise ValueError(str(error).replace(quoted(path), quoted(Path(path).name))) from error


def scaled_down(image: np.ndarray, max_pixels: int) -> np.ndarray:
    """``image (H, W, 3)`` with at most ``max_pixels`` pixels, in its proportions."""
    height, width = image.shape[:2]
    if height * width <= max_pixels:
        return image
    scale = math.sqrt(max_pixels / (height * width))
    height = min(max(1, int(height * scale)), max_pixels)  # a line of pixels stays one pixel thick
    width = min(max(1, int(width * scale)), max_pixels // height)
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def small(pixels: np.ndarray, interpolation: int = cv2.INTER_AREA) -> np.ndarray:
    """``pixels (H, W, ...)`` in a size for the page."""
    scale = LONGEST_SIDE / max(pixels.shape[:2])
    if scale >= 1:
        return pixels
    height, width = (max(1, round(size * scale)) for size in pixels.shape[:2])
    return cv2.resize(pixels, (width, height), interpolation=interpolation)
