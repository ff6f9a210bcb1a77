"""A folder of 24 files such as people have: of many kinds, broken, too large. Not a test module: tests take it by ``runpy``."""
import io
from pathlib import Path
from typing import Dict

import cv2
import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from ovseg.datasets.demo_scenes_dataset import DEMO_SCENES

HEIC = Path(__file__).parent / 'data' / 'phone.heic'  # the photograph, by pillow-heif
WIDTH, HEIGHT = 131, 101
LARGE = 701, 607  # width and height
MAX_PIXELS = 300_000  # less than the large files have
TIFF_SHORT, TIFF_DOUBLE = 3, 12
PIXEL_SCALE, TIE_POINT, GEO_KEYS = 33550, 33922, 34735
UTM_33N = (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32633)  # version, then projected, pixel is area, EPSG code


def photograph(width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    """A part of a demo scene, enlarged where it is wanted large."""
    with Image.open(DEMO_SCENES / 'images' / '006.jpg') as scene:
        part = scene.crop((100, 150, 100 + WIDTH, 150 + HEIGHT))
    return part if (width, height) == part.size else part.resize((width, height), Image.BICUBIC)


def transparent() -> Image.Image:
    """The photograph with a transparent left half, which is black without its alpha."""
    rgba = np.dstack([photograph(), np.full((HEIGHT, WIDTH), 255, np.uint8)])
    rgba[:, :WIDTH // 2] = 0
    return Image.fromarray(rgba)


def write(folder: Path) -> None:
    """Write all files into ``folder``, which is made."""
    folder.mkdir(parents=True)
    for name, content in contents().items():
        (folder / name).write_bytes(content)


def contents() -> Dict[str, bytes]:
    """The content of each file by its name."""
    photo, rgb = photograph(), np.asarray(photograph())
    frames = [photo, photo.transpose(Image.FLIP_LEFT_RIGHT), photo.transpose(Image.FLIP_TOP_BOTTOM)]
    turned, exif = photo.transpose(Image.ROTATE_90), Image.Exif()
    exif[0x0112] = 6  # turn clockwise to see it upright
    jpeg, png = _encoded(photo, 'JPEG'), _encoded(photo, 'PNG')
    return {
        'animation.gif': _encoded(photo, 'GIF', save_all=True, append_images=frames[1:]),
        'cmyk.jpg': _encoded(photo.convert('CMYK'), 'JPEG', quality=95),
        'constant.tif': _tiff(np.full((HEIGHT, WIDTH), 1000, np.uint16)),
        'cut_off.jpg': jpeg[:len(jpeg) // 2],
        'cut_off.png': png[:len(png) // 2],
        'deep.png': cv2.imencode('.png', rgb[..., ::-1].astype(np.uint16) * 16)[1].tobytes(),  # 12 of 16 bits
        'drawing.svg': b'<svg xmlns="http://www.w3.org/2000/svg" width="131" height="101"/>',
        'empty.jpg': b'',
        'float.tif': _tiff(rgb[..., 1].astype(np.float32) / 255),
        'geo.tif': _encoded(photo, 'TIFF', tiffinfo=_geo_tags()),
        'grey.png': _encoded(photo.convert('L'), 'PNG'),
        'huge.png': _encoded(Image.new('1', LARGE), 'PNG'),
        'huge.tif': _encoded(photograph(*LARGE), 'TIFF'),
        'layers.psd': b'8BPS\0\1' + bytes(100),
        'notes.txt': b'no image',
        'pages.tif': _encoded(photo, 'TIFF', save_all=True, append_images=frames[1:]),
        'palette.png': _encoded(photo.convert('P', palette=Image.ADAPTIVE), 'PNG'),
        'phone.heic': HEIC.read_bytes(),
        'phone.jpg': _encoded(turned, 'JPEG', exif=exif, quality=95),
        'photo.jpg': jpeg,
        'photo.png': png,
        'text.png': b'no image',
        'transparent.gif': _encoded(transparent(), 'GIF'),
        'transparent.png': _encoded(transparent(), 'PNG')}


def _encoded(image: Image.Image, format_: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def _tiff(pixels: np.ndarray) -> bytes:
    return _encoded(Image.fromarray(pixels), 'TIFF')


def _geo_tags() -> ImageFileDirectory_v2:
    """Half a metre a pixel, in UTM zone 33."""
    tags = ImageFileDirectory_v2()
    for tag, type_, values in ((PIXEL_SCALE, TIFF_DOUBLE, (0.5, 0.5, 0.0)),
                               (TIE_POINT, TIFF_DOUBLE, (0.0, 0.0, 0.0, 500_000.0, 5_400_000.0, 0.0)),
                               (GEO_KEYS, TIFF_SHORT, UTM_33N)):
        tags.tagtype[tag] = type_
        tags[tag] = values
    return tags
