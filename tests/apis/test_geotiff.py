import sys

import numpy as np
import pytest
from PIL import Image

from ovseg.apis import geotiff
from ovseg.apis.geotiff import label_file, open_raster
from ovseg.apis.image_sources import read_image
from ovseg.apis.reading import Reading
from ovseg.apis.tiles import Span, Tile
from ovseg.extras import MissingPackageError

rasterio = pytest.importorskip('rasterio')

WIDTH, HEIGHT = 97, 89
WHOLE = Tile(Span(0, HEIGHT, 0, HEIGHT), Span(0, WIDTH, 0, WIDTH))
TRANSFORM = rasterio.transform.from_origin(500_000, 5_400_000, 0.5, 0.25)
LARGE = 10 ** 9


@pytest.fixture
def make(tmp_path):
    """Writes a GeoTIFF of the values ``(bands, H, W)``."""
    def write(values, interpretation=None, colours=None, **options):
        path = tmp_path / 'a.tif'
        options = dict(dict(crs='EPSG:32633', transform=TRANSFORM), **options)
        with rasterio.open(path, 'w', driver='GTiff', count=len(values), height=values.shape[1], width=values.shape[2],
                           dtype=values.dtype, **options) as target:
            target.write(values)
            if interpretation:
                target.colorinterp = [rasterio.enums.ColorInterp[name] for name in interpretation]
            if colours:
                target.write_colormap(1, colours)
        return path
    return write


def random(bands, dtype=np.uint8, low=1, high=256):
    return np.random.default_rng(0).integers(low, high, (bands, HEIGHT, WIDTH)).astype(dtype)


def read(path, tile=WHOLE, **options):
    with open_raster(path, Reading(**options), LARGE) as raster:
        return raster.read(tile)


@pytest.mark.parametrize('bands, options, expected', [
    (1, {}, (0, 0, 0)), (2, {}, (0, 0, 0)), (3, {}, (0, 1, 2)), (5, {}, (0, 1, 2)), (5, dict(bands=(4, 3, 2)), (3, 2, 1)),
    (5, dict(bands=(5,)), (4, 4, 4)), (5, dict(interpretation=['gray', 'blue', 'undefined', 'green', 'red']), (4, 3, 1))])
def test_bands(make, bands, options, expected):
    values = random(bands)
    path = make(values, options.pop('interpretation', None))
    pixels, valid = read(path, **options)
    np.testing.assert_array_equal(pixels[..., ::-1], values[list(expected)].transpose(1, 2, 0))
    assert valid.all() and pixels.flags.c_contiguous


def test_a_window(make):
    values = random(3)
    tile = Tile(Span(11, 42, 13, 40), Span(23, 60, 23, 57))
    pixels, valid = read(make(values), tile)
    np.testing.assert_array_equal(pixels[..., ::-1], values[:, 11:42, 23:60].transpose(1, 2, 0))
    assert valid.shape == (31, 37)


@pytest.mark.parametrize('dtype, nodata', [(np.uint16, 0), (np.int16, -999), (np.float32, -999), (np.float32, np.nan)])
def test_values_are_scaled_by_the_range_of_what_has_data(make, dtype, nodata):
    values = random(3, dtype, 300, 4000)
    values[:, 7:19, 31:] = nodata
    expected = (values.astype(np.float64) - 300) / (3999 - 300) * 255
    pixels, valid = read(make(values, nodata=nodata))
    outside = np.zeros((HEIGHT, WIDTH), bool)
    outside[7:19, 31:] = True
    np.testing.assert_array_equal(valid, ~outside)
    assert values[:, valid].min() == 300 and values[:, valid].max() == 3999
    assert np.abs(pixels[valid][:, ::-1] - expected[:, valid].T).max() < 0.51
    assert (pixels[outside] == 0).all()


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(geotiff, 'print_log', lambda line, *_: lines.append(line))
    return lines


def filled(value, dtype, bands=3):
    values = random(bands, dtype, 300, 4000)
    values[:, 7:19, 31:] = value
    return values


@pytest.mark.parametrize('value, dtype, bands', [
    (-9999, np.float32, 3), (-9999, np.int16, 1), (0, np.uint16, 3), (65535, np.uint16, 1),
    (-3.4028234663852886e+38, np.float32, 3), (1.7e308, np.float64, 1)])
def test_a_fill_value_that_the_file_does_not_declare_is_named_with_the_option(make, said, value, dtype, bands):
    values = filled(value, dtype, bands)
    path = make(values)
    read(path)
    shown = f'{float(value):.17g}'
    assert said == [f'{path}: 9% of the pixels have the value {shown}, which is far from all others, and the file '
                    f'declares no such value for pixels without data. If it is one, give nodata={shown} (--nodata={shown})']
    said.clear()
    pixels, valid = read(path, nodata=float(shown))
    declared = read(make(values, nodata=value))
    assert (~valid).sum() == 12 * (WIDTH - 31) and not said
    np.testing.assert_array_equal(pixels, declared[0])
    np.testing.assert_array_equal(valid, declared[1])


def test_values_that_only_look_like_a_fill_value_are_not_warned_of(make, said):
    one_band = random(3, np.uint16, 300, 4000)
    one_band[1, 7:19, 31:] = 0
    few = random(3, np.uint16, 300, 4000)
    few[:, 7, :5] = 0
    near = random(1, np.uint16, 300, 4000).clip(1000)
    for values in (one_band, few, near, random(1, np.uint16, 0, 4000)):
        read(make(values))
    read(make(filled(0, np.uint16)), bit_depth=12)
    read(make(filled(0, np.uint16), nodata=0))
    assert said == []


def test_a_value_without_data_in_8_bits(make):
    values = random(3)
    values[:, 7:19, 31:] = 0
    values[1, 3, :] = 0
    pixels, valid = read(make(values), nodata=0)
    assert (~valid).sum() == 12 * (WIDTH - 31) and valid[3].all()
    np.testing.assert_array_equal(pixels[..., ::-1], values.transpose(1, 2, 0))


def test_the_bit_depth(make):
    values = random(1, np.uint16, 0, 1024)
    pixels, _ = read(make(values), bit_depth=12)
    assert np.abs(pixels[..., 0] - values[0] / 4095 * 255).max() < 0.51
    with pytest.raises(ValueError, match=r'a\.tif has values from .*, which do not fit into bit_depth=9'):
        read(make(values), bit_depth=9)


def test_no_value_has_data(make):
    pixels, valid = read(make(np.zeros((3, HEIGHT, WIDTH), np.uint16), nodata=0))
    assert not valid.any() and not pixels.any()


def test_a_palette_gives_its_colours(make):
    colours = {index: (255 - index, index, index // 2, 255) for index in range(256)}
    values = random(1, low=0)
    pixels, _ = read(make(values, colours=colours))
    expected = np.stack([255 - values[0], values[0], values[0] // 2], -1)
    np.testing.assert_array_equal(pixels[..., ::-1], expected)


def test_cmyk_becomes_rgb(tmp_path):
    rgb = Image.fromarray(random(3).transpose(1, 2, 0))
    rgb.convert('CMYK').save(tmp_path / 'a.tif')
    pixels, valid = read(tmp_path / 'a.tif')
    assert valid.all() and np.abs(pixels[..., ::-1] - np.asarray(rgb).astype(int)).max() <= 1


def test_transparent_pixels_have_no_data(tmp_path):
    rgba = random(4, low=0).transpose(1, 2, 0)
    rgba[..., 3] = 255
    rgba[:11, :, 3] = 0
    Image.fromarray(rgba).save(tmp_path / 'a.tif')
    pixels, valid = read(tmp_path / 'a.tif')
    assert not valid[:11].any() and valid[11:].all()
    np.testing.assert_array_equal(pixels[11:, :, ::-1], rgba[11:, :, :3])


@pytest.mark.parametrize('orientation', [2, 3, 4, 5, 6, 7, 8])
def test_pixels_that_are_turned_or_mirrored_are_refused(tmp_path, orientation):
    Image.fromarray(random(3).transpose(1, 2, 0)).save(tmp_path / 'a.tif', tiffinfo={274: orientation})
    with pytest.raises(ValueError, match=rf'a\.tif has orientation {orientation} \(tag 274\), .* must have orientation 1'):
        read(tmp_path / 'a.tif')


@pytest.mark.parametrize('orientation', [0, 1, 9])
def test_an_orientation_without_effect_in_images_has_none(tmp_path, orientation):
    values = random(3)
    Image.fromarray(values.transpose(1, 2, 0)).save(tmp_path / 'a.tif', tiffinfo={274: orientation})
    np.testing.assert_array_equal(read(tmp_path / 'a.tif')[0][..., ::-1], values.transpose(1, 2, 0))
    np.testing.assert_array_equal(read_image(tmp_path / 'a.tif', LARGE)[..., ::-1], values.transpose(1, 2, 0))


def test_refused(make, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(geotiff, 'MOST_PIXELS', WIDTH * HEIGHT - 1)
        with pytest.raises(ValueError, match=r'a\.tif is too large: 97 x 89 pixels, at most 8632 are read'):
            read(make(random(3)))
    with pytest.raises(ValueError, match=r'a\.tif has no band 4: its bands are 1 to 3'):
        read(make(random(3)), bands=(1, 4, 2))
    with pytest.raises(ValueError, match=r'a\.tif has values of type complex64; integers or floating-point'):
        read(make(random(1).astype(np.complex64)))
    path = make(random(3), compress='deflate', blockysize=HEIGHT)
    with open_raster(path, Reading(), WIDTH * HEIGHT):
        pass
    with pytest.raises(ValueError, match=r'blocks of 97 x 89 pixels, and max_pixels=8632: '), \
            open_raster(path, Reading(), WIDTH * HEIGHT - 1):
        pass
    content = path.read_bytes()
    path.write_bytes(content[:len(content) // 2])
    with pytest.raises(ValueError, match=r'cannot read .*a\.tif: '):
        read(path)
    monkeypatch.setitem(sys.modules, 'rasterio', None)
    with pytest.raises(MissingPackageError, match=r'a\.tif, a GeoTIFF .*, needs rasterio: .* install .*geo'):
        read(path)


@pytest.mark.parametrize('dtype, ignore', [(np.uint8, 255), (np.uint16, 65535)])
def test_labels_have_the_place_of_the_raster(make, tmp_path, dtype, ignore):
    labels = np.random.default_rng(0).integers(0, 200, (31, 37)).astype(dtype)
    with open_raster(make(random(3)), Reading(), LARGE) as raster, \
            label_file(tmp_path / 'labels.part', raster, np.dtype(dtype), [[1, 2, 3], [4, 5, 6]]) as write:
        write(slice(11, 42), slice(23, 60), labels)
    with rasterio.open(tmp_path / 'labels.part') as found:
        assert found.transform == TRANSFORM and found.crs.to_epsg() == 32633 and found.nodata == ignore
        values = found.read(1)
        assert values.dtype == dtype and values.shape == (HEIGHT, WIDTH)
        np.testing.assert_array_equal(values[11:42, 23:60], labels)
        values[11:42, 23:60] = ignore
        assert (values == ignore).all()
        if dtype == np.uint8:
            assert found.colormap(1)[1] == (4, 5, 6, 255)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['a.tif', 'labels.part']
