import io
import runpy
import struct
from pathlib import Path

import pytest
from PIL import Image

from ovseg.apis.reading import Reading
from ovseg.apis.tiff_pages import Page, has_several_pages, is_raster, tiff_pages

ODD = runpy.run_path(str(Path(__file__).parents[1] / 'odd_files.py'))
LARGE = 10 ** 9


def pages(name):
    return list(tiff_pages(io.BytesIO(ODD['contents']()[name])))


def test_pages():
    assert pages('photo.png') == []
    assert pages('geo.tif') == [Page(131, 101, 3, True)]
    assert pages('pages.tif') == [Page(131, 101, 3, False)] * 3
    assert has_several_pages(io.BytesIO(ODD['contents']()['pages.tif']))
    assert not has_several_pages(io.BytesIO(ODD['contents']()['geo.tif']))


@pytest.mark.parametrize('orientation', [1, 2, 3, 4, 5, 6, 7, 8])
def test_the_orientation(orientation, tmp_path):
    Image.new('RGB', (37, 41)).save(tmp_path / 'a.tif', tiffinfo={274: orientation})
    with (tmp_path / 'a.tif').open('rb') as file:
        assert list(tiff_pages(file)) == [Page(37, 41, 3, False, orientation)]


def test_directories_in_a_circle_end():
    content = bytearray(ODD['contents']()['huge.tif'])
    start, = struct.unpack_from('<I', content, 4)
    count, = struct.unpack_from('<H', content, start)
    struct.pack_into('<I', content, start + 2 + 12 * count, start)
    assert len(list(tiff_pages(io.BytesIO(content)))) == 1


@pytest.mark.parametrize('name, max_pixels, options, expected', [
    ('geo.tif', LARGE, {}, True), ('float.tif', LARGE, {}, False), ('float.tif', 131 * 101, {}, False),
    ('float.tif', 131 * 101 - 1, {}, True), ('float.tif', LARGE, dict(bands=(1,)), True),
    ('float.tif', LARGE, dict(nodata=0), True), ('photo.jpg', 1, dict(bands=(1,), nodata=7), False),
    ('empty.jpg', 1, {}, False)])
def test_what_is_read_window_by_window(tmp_path, name, max_pixels, options, expected):
    (tmp_path / name).write_bytes(ODD['contents']()[name])
    assert is_raster(tmp_path / name, max_pixels, Reading(**options)) is expected


@pytest.mark.parametrize('content', [b'II*\0', b'II*\0\x08\0\0\0', b'II+\0\x08\0\0\0\xff\xff\xff',
                                     b'MM\0*\0\0\0\x08\xff\xff'])
def test_a_damaged_tiff_is_left_to_the_reader_of_images(tmp_path, content):
    (tmp_path / 'a.tif').write_bytes(content)
    assert not is_raster(tmp_path / 'a.tif', 1, Reading(bands=(1,)))


def test_big_tiff(tmp_path):
    rasterio = pytest.importorskip('rasterio')
    with rasterio.open(tmp_path / 'a.tif', 'w', driver='GTiff', width=37, height=41, count=5, dtype='uint8', BIGTIFF='YES',
                       transform=rasterio.transform.from_origin(1, 2, 3, 3)):
        pass
    with (tmp_path / 'a.tif').open('rb') as file:
        assert list(tiff_pages(file)) == [Page(37, 41, 5, True)]
    with pytest.raises(Exception, match='cannot identify'):
        Image.open(tmp_path / 'a.tif')
