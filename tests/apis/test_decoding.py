import io
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import PIL
import pytest
from packaging.version import Version
from PIL import Image

from ovseg.apis.decoding import decode, scale, to_8_bits
from ovseg.apis.image_sources import read_image
from ovseg.extras import MissingPackageError

ODD = runpy.run_path(str(Path(__file__).parents[1] / 'odd_files.py'))
RGB = np.asarray(ODD['photograph']())
OVER_WHITE = RGB.copy()
OVER_WHITE[:, :RGB.shape[1] // 2] = 255
GREY = np.asarray(ODD['photograph']().convert('L'))[..., None].repeat(3, 2)
RANGE = (RGB - RGB.min()) / (RGB.max() - RGB.min()) * 255
GREEN = ((RGB[..., 1:2] - RGB[..., 1].min()) / (RGB[..., 1].max() - RGB[..., 1].min()) * 255).repeat(3, 2)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('odd') / 'files'
    ODD['write'](folder)
    return folder


@pytest.mark.parametrize('name, expected, tolerance', [
    ('photo.png', RGB, 0), ('photo.jpg', RGB, 6), ('phone.jpg', RGB, 4), ('cmyk.jpg', RGB, 6), ('grey.png', GREY, 0),
    ('palette.png', RGB, 6), ('geo.tif', RGB, 0), ('transparent.png', OVER_WHITE, 0), ('transparent.gif', OVER_WHITE, 8),
    ('deep.png', RANGE, 0.51), ('float.tif', GREEN, 0.51)])
def test_each_kind_is_read_as_it_looks(folder, name, expected, tolerance):
    found = read_image(folder / name, ODD['MAX_PIXELS'])
    assert found.shape == (*expected.shape[:2], 3) and found.dtype == np.uint8
    assert np.abs(found[..., ::-1] - expected.astype(float)).mean() <= tolerance


def test_heic(folder):
    pytest.importorskip('pillow_heif')
    found = read_image(folder / 'phone.heic', ODD['MAX_PIXELS'])
    assert found.shape == RGB.shape and np.abs(found[..., ::-1] - RGB.astype(float)).mean() < 8
    with pytest.raises(ValueError, match=r'phone\.heic is too large: 131 x 101 pixels'):
        read_image(folder / 'phone.heic', RGB[..., 0].size - 1)
    (folder / 'cut.heic').write_bytes((folder / 'phone.heic').read_bytes()[:3000])
    with pytest.raises(ValueError, match=r'cannot read .*cut\.heic: '):
        read_image(folder / 'cut.heic', ODD['MAX_PIXELS'])


def test_heic_without_pillow_heif_names_the_extra(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, 'pillow_heif', None)
    with pytest.raises(MissingPackageError, match=r'phone\.heic, a HEIC image, needs pillow-heif: .* install .*heif'):
        read_image(folder / 'phone.heic', ODD['MAX_PIXELS'])


def test_the_bit_depth_replaces_the_range(folder):
    found = read_image(folder / 'deep.png', ODD['MAX_PIXELS'], 12)
    assert np.abs(found[..., ::-1] - RGB * 16.0 / 4095 * 255).max() <= 0.51
    with pytest.raises(ValueError, match=r'deep\.png has values from .*, which do not fit into bit_depth=11'):
        read_image(folder / 'deep.png', ODD['MAX_PIXELS'], 11)
    np.testing.assert_array_equal(read_image(folder / 'photo.png', ODD['MAX_PIXELS'], 4)[..., ::-1], RGB)  # 8 bits


def test_16_bits_with_transparency():
    rgba = np.dstack([RGB[..., ::-1].astype(np.uint16) * 16, np.full(RGB.shape[:2], 65535, np.uint16)])
    rgba[:31, :, 3] = 0
    found = decode(cv2.imencode('.png', rgba)[1].tobytes(), 'a.png', 12)
    assert (found[:31] == 255).all()
    assert np.abs(found[31:, :, ::-1] - RGB[31:] * 16.0 / 4095 * 255).max() <= 0.51


@pytest.mark.parametrize('name, reason', [
    ('animation.gif', 'is an animation of 3 frames: save those that you need'), ('pages.tif', 'has several pages'),
    ('constant.tif', 'are 1000, so that their range gives no scale: give bit_depth')])
def test_what_is_more_or_less_than_an_image_is_named(folder, name, reason):
    with pytest.raises(ValueError, match=reason) as caught:
        read_image(folder / name, ODD['MAX_PIXELS'])
    assert str(folder / name) in str(caught.value)


@pytest.mark.parametrize('format_', ['WEBP', 'PNG'])
def test_other_animations_are_refused(format_):
    file = io.BytesIO()
    Image.fromarray(RGB).save(file, format_, save_all=True, append_images=[Image.fromarray(RGB[::-1])])
    with pytest.raises(ValueError, match='a file is an animation of 2 frames'):
        decode(file.getvalue(), 'a file')


@pytest.mark.skipif(Version(PIL.__version__) < Version('10'), reason='older Pillow cannot write an overview')
def test_an_overview_of_a_tiff_is_no_page():
    file = io.BytesIO()
    overview = Image.fromarray(RGB[::2, ::2])
    overview.encoderinfo = dict(tiffinfo={254: 1})
    Image.fromarray(RGB).save(file, 'TIFF', save_all=True, append_images=[overview])
    assert Image.open(file).n_frames == 2
    np.testing.assert_array_equal(decode(file.getvalue(), 'a.tif')[..., ::-1], RGB)


@pytest.mark.skipif(Version(PIL.__version__) < Version('10'), reason='older Pillow does not turn TIFF files')
def test_an_orientation_in_a_tiff_of_32_bits_is_applied():
    file = io.BytesIO()
    Image.fromarray(RGB[..., 0].astype(np.float32)).save(file, 'TIFF', tiffinfo={274: 6})
    assert decode(file.getvalue(), 'a.tif').shape == (131, 101, 3)


def test_values_become_8_bits():
    values = np.array([[[100, 300, 500]]], np.uint16)
    np.testing.assert_array_equal(to_8_bits(values, 'a'), [[[0, 128, 255]]])
    np.testing.assert_array_equal(to_8_bits(np.zeros((3, 5, 3), np.uint16), 'a'), np.zeros((3, 5, 3)))
    np.testing.assert_array_equal(scale(np.array([-7, 0, 5, 10, 11]), 0, 10), [0, 0, 128, 255, 255])
    extreme = np.array([[[-3e38, 0, 3e38]]], np.float32)
    np.testing.assert_array_equal(to_8_bits(extreme, 'a'), [[[0, 128, 255]]])
    with pytest.raises(ValueError, match='a has values that are not finite'):
        to_8_bits(np.array([[[1, np.nan, 3]]]), 'a')


def test_transparent_pil_images_lie_over_white():
    np.testing.assert_array_equal(read_image(ODD['transparent'](), 10 ** 6)[..., ::-1], OVER_WHITE)
