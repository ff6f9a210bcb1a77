"""Rasters segmented tile by tile, compared with a loop over pixels."""
import json
import signal

import numpy as np
import pytest

from ovseg.apis import raster_labels
from ovseg.apis.raster_labels import label_raster, label_tiles, unlabelled
from ovseg.apis.tiles import tiles

HEIGHT, WIDTH, TILE, OVERLAP = 103, 97, 31, 7
WORDS = ['ladybug', 'grass', 'snow', 'gravel']


class Pixels:
    """A raster in memory."""

    def __init__(self, values, valid):
        self.values, self.valid, self.size = values, valid, valid.shape

    def read(self, tile):
        own = slice(tile.rows.start, tile.rows.stop), slice(tile.columns.start, tile.columns.stop)
        return self.values[own], self.valid[own]


@pytest.fixture
def raster():
    rng = np.random.default_rng(0)
    valid = rng.random((HEIGHT, WIDTH)) > 0.2
    valid[:40, :40] = False  # some tiles are empty
    return Pixels(rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8), valid)


def predict(images):
    """Labels that depend on the tile, as those of a network do: the class of a pixel moves on with the tile's mean."""
    return [((image[..., 0].astype(int) + int(image.mean() * 100)) % 5).astype(np.uint8) for image in images]


@pytest.mark.parametrize('batch_size', [1, 3])
@pytest.mark.parametrize('overview', [2048, 23])
def test_each_pixel_has_the_label_of_the_tile_with_the_nearest_centre(raster, batch_size, overview, monkeypatch):
    monkeypatch.setattr(raster_labels, 'OVERVIEW', overview)
    sizes, labels = [], unlabelled(raster.size, 5)

    def counted(images):
        sizes.append(len(images))
        return predict(images)

    found = label_tiles(raster, tiles(HEIGHT, WIDTH, TILE, OVERLAP), counted, 5, batch_size,
                        lambda rows, columns, part: labels.__setitem__((rows, columns), part))
    parts = [(rows, columns, predict([raster.values[rows.start:rows.stop, columns.start:columns.stop]])[0])
             for rows, columns in tiles(HEIGHT, WIDTH, TILE, OVERLAP)]
    expected = np.full((HEIGHT, WIDTH), 255)
    for row in range(HEIGHT):
        for column in range(WIDTH):
            if raster.valid[row, column]:
                distances = [(2 * row - rows.start - rows.stop + 1) ** 2 + (2 * column - columns.start - columns.stop + 1) ** 2
                             for rows, columns, _ in parts]
                rows, columns, part = parts[int(np.argmin(distances))]
                expected[row, column] = part[row - rows.start, column - columns.start]
    np.testing.assert_array_equal(labels, expected)
    assert found.counts.tolist() == [int((expected == label).sum()) for label in range(5)]
    assert found.valid == raster.valid.sum() and found.undefined == 0
    assert max(sizes) == batch_size and sum(sizes) < len(parts)
    step = 1 if overview > HEIGHT else 5
    np.testing.assert_array_equal(found.labels, expected[::step, ::step])
    shown = raster.valid[::step, ::step]
    np.testing.assert_array_equal(found.image[shown], raster.values[::step, ::step][shown])


def test_pixels_without_a_class_are_counted_apart_from_those_without_data(raster):
    def none(images):
        return [np.full(image.shape[:2], 255, np.uint8) for image in images]
    found = label_tiles(raster, tiles(HEIGHT, WIDTH, TILE, OVERLAP), none, 5, 2, lambda *part: None)
    assert found.undefined == found.valid == raster.valid.sum() and not found.counts.any()


@pytest.fixture
def geotiff(tmp_path):
    """A GeoTIFF of a demo scene whose upper left corner has no data."""
    rasterio = pytest.importorskip('rasterio')
    from PIL import Image

    from ovseg.datasets.demo_scenes_dataset import DEMO_SCENES
    with Image.open(DEMO_SCENES / 'images' / '006.jpg') as scene:
        pixels = np.maximum(np.asarray(scene)[:307, :401], 1)
    pixels[:101, :103] = 0
    with rasterio.open(tmp_path / 'scene.tif', 'w', driver='GTiff', count=3, height=307, width=401, dtype='uint8', nodata=0,
                       crs='EPSG:32633', transform=rasterio.transform.from_origin(500_000, 5_400_000, 0.5, 0.5)) as target:
        target.write(pixels.transpose(2, 0, 1))
    return tmp_path / 'scene.tif', pixels


def test_tiles_are_segmented_as_images(inferencer, geotiff, tmp_path):
    rasterio = pytest.importorskip('rasterio')
    path, pixels = geotiff
    result = inferencer(path, WORDS, out_dir=tmp_path / 'out', tile=227, overlap=31, batch_size=3)
    expected = np.full(pixels.shape[:2], 255)
    for rows, columns in tiles(*pixels.shape[:2], 227, 31):
        tile = np.ascontiguousarray(pixels[rows.start:rows.stop, columns.start:columns.stop, ::-1])
        labels = inferencer(tile, WORDS)['predictions'][0]
        expected[rows.first:rows.last, columns.first:columns.last] = labels[rows.labelled, columns.labelled]
    expected[:101, :103] = 255
    np.testing.assert_array_equal(result['predictions'][0], expected)
    with rasterio.open(tmp_path / 'out' / 'pred' / 'scene.tif') as written, rasterio.open(path) as source:
        np.testing.assert_array_equal(written.read(1), expected)
        assert written.transform == source.transform and written.crs == source.crs
    entry, = json.loads((tmp_path / 'out' / 'results.json').read_text(encoding='utf-8'))['images']
    assert entry['nodata_pixels'] == 101 * 103 and entry['files']['pred'] == 'pred/scene.tif'
    assert {name: area['pixels'] for name, area in entry['areas'].items()} == {
        name: int((expected == label).sum()) for label, name in enumerate(WORDS)}
    assert sum(area['share'] for area in entry['areas'].values()) == pytest.approx(1) == sum(result['areas'][0].values())


def test_a_full_disk_is_an_error_although_gdal_reports_none(geotiff, tmp_path):
    resource = pytest.importorskip('resource')
    from ovseg.apis.geotiff import open_raster
    from ovseg.apis.reading import Reading
    path, _ = geotiff
    rng = np.random.default_rng(0)

    def noise(images):
        return [rng.integers(0, 5, image.shape[:2], np.uint8) for image in images]

    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with open_raster(path, Reading(), 10 ** 9) as raster, pytest.raises(OSError):
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
            label_raster(raster, tiles(*raster.size, 101, 7), noise, [[1, 2, 3]] * 5, 2, None, tmp_path / 'labels.part')
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_raster_over_the_bound_is_only_written(build, geotiff, tmp_path):
    rasterio = pytest.importorskip('rasterio')
    path, pixels = geotiff
    inferencer = build(max_pixels=pixels[..., 0].size, cfg_options={'model.windows.crop': 112, 'model.windows.stride': 112})
    whole, = inferencer.stream(path, WORDS, tile=113, overlap=11)
    inferencer.max_pixels -= 1
    with pytest.raises(ValueError, match=r'scene\.tif has 401 x 307 pixels, more than max_pixels=123106: give an out_dir'):
        inferencer(path, WORDS, tile=113, overlap=11)
    found, = inferencer.stream(path, WORDS, tile=113, overlap=11, out_dir=tmp_path / 'out')
    assert found.labels is None and found.areas == whole.areas
    with rasterio.open(tmp_path / 'out' / 'pred' / 'scene.tif') as written:
        np.testing.assert_array_equal(written.read(1), whole.labels)


def test_rejected_pixels_are_counted_apart(raster):
    def rejecting(images):
        return [np.select([labels == 4, labels == 3], [256, 255], labels.astype(int)) for labels in predict(images)]

    plain, labels = unlabelled(raster.size, 5), unlabelled(raster.size, 5)
    parts = list(tiles(HEIGHT, WIDTH, TILE, OVERLAP))
    label_tiles(raster, parts, predict, 5, 2, lambda rows, columns, part: plain.__setitem__((rows, columns), part))
    found = label_tiles(raster, parts, rejecting, 5, 2, lambda rows, columns, part: labels.__setitem__((rows, columns), part))
    assert (found.rejected, found.undefined) == ((plain == 4).sum(), (plain == 3).sum()) and found.rejected != found.undefined
    np.testing.assert_array_equal(labels, np.where(plain >= 3, 255, plain))
    assert found.counts.tolist() == [*np.bincount(plain[raster.valid], minlength=5)[:3], 0, 0]
