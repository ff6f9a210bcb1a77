"""An image painted by its label map, with the legend under it."""
from functools import cache
from typing import List, Sequence, Tuple

import numpy as np
from matplotlib.font_manager import fontManager, get_font
from PIL import Image, ImageDraw, ImageFont

from ovseg.visualization.contact_sheet import overlay

PIXELS_AT_ONCE = 2 ** 20  # overlay() takes about a hundred bytes for each
LONGEST_ASPECT = 3  # of the images whose longer side sets the size of letters; that of a line of pixels would fill the memory
FONTS = ('DejaVu Sans', 'Noto Sans CJK SC', 'Noto Sans CJK JP', 'Microsoft YaHei', 'PingFang SC', 'Hiragino Sans GB', 'SimHei',
         'WenQuanYi Zen Hei', 'WenQuanYi Micro Hei', 'Noto Emoji', 'Symbola')  # the first comes with matplotlib

Entry = Tuple[str, Sequence[int]]


def painted_with_legend(image: np.ndarray, labels: np.ndarray, palette: Sequence[Sequence[int]],
                        legend: Sequence[Entry]) -> np.ndarray:
    """``overlay`` of an image of any size, and under it a swatch and a text for each entry of ``legend``.

    Args:
        image: ``(H, W, 3)`` uint8 RGB.
        labels: ``(H, W)`` indices into the palette.
        palette: One RGB colour per class, 0 to 255.
        legend: Text and colour of each entry, in the order in which they are written.

    Returns:
        ``(H', W', 3)`` uint8 RGB with ``H' > H``; ``W'`` is ``W``, or what the texts need at least.
    """
    rows = max(1, PIXELS_AT_ONCE // image.shape[1])
    strips = [overlay(image[start:start + rows], labels[start:start + rows], palette) for start in range(0, len(image), rows)]
    side = min(max(image.shape[:2]), LONGEST_ASPECT * min(image.shape[:2]))
    under = _legend(legend, side, image.shape[1])
    right = ((0, 0), (0, under.shape[1] - image.shape[1]), (0, 0))
    return np.concatenate([*(np.pad(strip, right, constant_values=255) for strip in strips), under])


def installed_fonts() -> List[str]:
    """Those of ``FONTS`` that matplotlib finds."""
    installed = {font.name for font in fontManager.ttflist}
    return [name for name in FONTS if name in installed]


def _legend(entries: Sequence[Entry], side: int, width: int) -> np.ndarray:
    """Swatches and texts in as many lines as they need, as large as suits an image of that side; blank for no entries."""
    size = max(12, round(side / 45))  # of the font, in pixels
    fonts = [_font(text, size) for text, _ in entries]
    widths = [round(2 * size + font.getlength(text)) for font, (text, _) in zip(fonts, entries)]  # with the swatch
    width = max(width, size + max(widths, default=0))
    places, x, y = [], size, size // 2
    for taken in widths:
        if x + taken > width:
            x, y = size, y + round(1.5 * size)
        places.append((x, y))
        x += taken + size
    canvas = Image.new('RGB', (width, y + 2 * size), 'white')
    draw = ImageDraw.Draw(canvas)
    for (text, colour), font, (x, y) in zip(entries, fonts, places):
        draw.rectangle([x, y, x + size, y + size], fill=tuple(colour), outline='black')
        draw.text((x + round(1.5 * size), y + size), text, fill='black', font=font, anchor='ls')
    return np.asarray(canvas)


def _font(text: str, size: int) -> ImageFont.FreeTypeFont:
    """The first of ``FONTS`` that is installed and has every letter of ``text``, or else the first."""
    files = _font_files()
    complete = (file for file in files if all(ord(letter) in _letters(file) for letter in text))
    return ImageFont.truetype(next(complete, files[0]), size)


@cache
def _font_files() -> List[str]:
    return [str(fontManager.findfont(name)) for name in installed_fonts()]


@cache
def _letters(font_file: str) -> frozenset:
    return frozenset(get_font(font_file).get_charmap())
