"""A GeoTIFF of 40,000 x 40,000 pixels in bounded memory."""
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from ovseg.datasets.demo_scenes_dataset import DEMO_SCENES

SIDE = 40_000
PART = 2_003  # side of each part with data
PLACES = ((0, 0), (19_001, 23_003), (SIDE - PART, SIDE - PART))  # row and column
LIMIT = 2 * 2 ** 30  # bytes
PROGRAM = '''
import resource, sys
from ovseg.cli import main
code = main(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
sys.exit(code)
'''


@pytest.mark.attack
def test_a_large_sparse_raster_takes_less_than_2_gb(tmp_path):
    rasterio = pytest.importorskip('rasterio')
    with Image.open(DEMO_SCENES / 'images' / '006.jpg') as scene:
        pixels = np.tile(np.asarray(scene), (PART // scene.height + 1, PART // scene.width + 1, 1))[:PART, :PART]
    transform = rasterio.transform.from_origin(500_000, 5_400_000, 0.5, 0.5)
    options = dict(driver='GTiff', height=SIDE, width=SIDE, count=3, dtype='uint8', nodata=0, crs='EPSG:32633', tiled=True,
                   transform=transform, compress='deflate', SPARSE_OK=True, BIGTIFF='YES')
    with rasterio.open(tmp_path / 'large.tif', 'w', **options) as target:
        for row, column in PLACES:
            window = ((row, row + PART), (column, column + PART))
            target.write(np.maximum(pixels, 1).transpose(2, 0, 1), window=window)
    finished = subprocess.run(
        [sys.executable, '-c', PROGRAM, 'predict', str(tmp_path / 'large.tif'), '--out', str(tmp_path / 'out'),
         '--device', 'cpu', '--classes', 'ladybug, grass, snow, gravel', '--cfg-options', 'model.prompt_templates=plain'],
        capture_output=True, text=True, check=True)
    memory = int(finished.stdout.splitlines()[-1])
    print(f'peak memory: {memory / 2 ** 20:.0f} MiB')
    assert memory < LIMIT
    image, = json.loads((tmp_path / 'out' / 'results.json').read_text(encoding='utf-8'))['images']
    assert image['size'] == [SIDE, SIDE] and image['nodata_pixels'] == SIDE ** 2 - len(PLACES) * PART ** 2
    with rasterio.open(tmp_path / 'out' / 'pred' / 'large.tif') as labels:
        assert labels.transform == transform and labels.crs.to_epsg() == 32633 and labels.nodata == 255
        for row, column in PLACES:
            around = labels.read(1, window=((max(row - 7, 0), row + PART), (max(column - 7, 0), column + PART)))
            assert np.count_nonzero(around != 255) == PART ** 2
