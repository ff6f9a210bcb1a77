"""Damaged GeoTIFF and HEIC files: pixels or one line that names the file."""
import random
import runpy
from pathlib import Path

import numpy as np
import pytest

from ovseg.apis.geotiff import open_raster
from ovseg.apis.image_sources import read_image
from ovseg.apis.reading import Reading
from ovseg.apis.tiff_pages import is_raster
from ovseg.apis.tiles import tiles

DAMAGED = runpy.run_path(str(Path(__file__).parent / 'mutations.py'))['damaged']
HEIC = Path(__file__).parents[1] / 'data' / 'phone.heic'
MAX_PIXELS = 10 ** 6
KINDS = [dict(dtype='uint8', count=3, compress='deflate', tiled=True, blockxsize=16, blockysize=16, nodata=0),
         dict(dtype='uint16', count=5, compress='lzw'), dict(dtype='float32', count=1, nodata=-1), dict(dtype='int16', count=4)]


def one_line(error, path):
    assert str(path) in str(error) and '\n' not in str(error), error


def test_every_damaged_geotiff_gives_pixels_or_one_line_that_names_it(attack, tmp_path):
    rasterio = pytest.importorskip('rasterio')
    path, files = tmp_path / 'a.tif', []
    for options in KINDS:
        values = np.random.default_rng(0).integers(0, 256, (options['count'], 41, 53)).astype(options['dtype'])
        with rasterio.open(path, 'w', driver='GTiff', height=41, width=53, crs='EPSG:32633',
                           transform=rasterio.transform.from_origin(1, 2, 3, 3), **options) as target:
            target.write(values)
        files.append(path.read_bytes())
    for seed in attack.seeds(150, 8_000, kept=[218, 281]):  # a range that is no float32, a broken second page
        with attack.one_case(seed):
            rng = random.Random(seed)
            path.write_bytes(DAMAGED(rng.choice(files), rng))
            if is_raster(path, MAX_PIXELS, Reading()):
                try:
                    with open_raster(path, Reading(), MAX_PIXELS) as raster:
                        for tile in [tile for tile, _ in zip(tiles(*raster.size, 37, 5), range(9))]:
                            pixels, valid = raster.read(tile)
                            assert pixels.dtype == np.uint8 and pixels.shape == (*valid.shape, 3)
                except ValueError as error:
                    one_line(error, path)


def test_every_damaged_heic_gives_pixels_or_one_line_that_names_it(attack, tmp_path):
    pytest.importorskip('pillow_heif')
    path, content = tmp_path / 'a.heic', HEIC.read_bytes()
    for seed in attack.seeds(150, 8_000):
        with attack.one_case(seed):
            path.write_bytes(DAMAGED(content, random.Random(seed)) or b'x')
            try:
                assert read_image(path, MAX_PIXELS).dtype == np.uint8
            except ValueError as error:
                one_line(error, path)
