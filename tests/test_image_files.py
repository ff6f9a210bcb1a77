import io
import os
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from ovseg import image_files
from ovseg.apis.image_sources import read_image
from ovseg.datasets import LoadImage
from ovseg.image_files import check_content, decoded, image_size, read_file

RGB = np.random.default_rng(0).integers(0, 256, (31, 43, 3), np.uint8)


def load(path):
    return LoadImage().transform(dict(img_path=str(path)))['img']


def chunk(kind, content=b'', claimed=None):
    length = len(content) if claimed is None else claimed
    return struct.pack('>I', length) + kind + content + struct.pack('>I', zlib.crc32(kind + content))


def png(*before, pixels=bytes(25 * 8), after=()):
    """8 x 8 RGB with chunks before and after the pixels."""
    header = chunk(b'IHDR', struct.pack('>IIBBBBB', 8, 8, 8, 2, 0, 0, 0))
    return b''.join([image_files.PNG_SIGNATURE, header, *before, chunk(b'IDAT', zlib.compress(pixels)), *after, chunk(b'IEND')])


READERS = pytest.mark.parametrize('read', [lambda path: read_image(path, 10 ** 6), load], ids=['read_image', 'LoadImage'])


@READERS
@pytest.mark.parametrize('kind', [b'IDAT', b'PLTE', b'iCCP', b'zTXt', b'tEXt'])
@pytest.mark.parametrize('claimed', [100, 0x7fffffff, 0xffffffff])
def test_a_chunk_that_claims_more_than_there_is_is_refused_undecoded(tmp_path, monkeypatch, read, kind, claimed):
    decoded = []
    monkeypatch.setattr('mmcv.imfrombytes', lambda *args, **kwargs: decoded.append(args))
    (tmp_path / 'a.png').write_bytes(png()[:33] + chunk(kind, b'x' * 20, claimed))
    with pytest.raises(ValueError, match=r'a\.png'):
        read(tmp_path / 'a.png')
    assert not decoded


@READERS
def test_the_chunk_is_named(tmp_path, read):
    content = png()
    (tmp_path / 'a.png').write_bytes(content[:-12] + struct.pack('>I', 0x7fffffff) + b'\n\x1bAt' + content[-12:])
    with pytest.raises(ValueError, match=r"cannot read .*a\.png: .*chunk '\\n\\x1bAt' claims 2147483647 bytes, 21474836"):
        read(tmp_path / 'a.png')


@READERS
def test_chunks_that_nobody_needs_and_bytes_behind_the_end_do_no_harm(tmp_path, read):
    content = png(chunk(b'tEXt', b'a\0b'), chunk(b'abCd'), after=[chunk(b'tIME', bytes([7, 230, 1, 1, 1, 1, 1]))]) + b'behind'
    (tmp_path / 'a.png').write_bytes(content)
    assert read(tmp_path / 'a.png').shape == (8, 8, 3)


@READERS
def test_what_is_no_regular_file_is_refused(tmp_path, read):
    os.mkfifo(tmp_path / 'a.png')
    with pytest.raises(ValueError, match=r'cannot read .*a\.png: it is no regular file'):
        read(tmp_path / 'a.png')


@READERS
def test_an_image_that_is_a_bomb_is_refused(tmp_path, monkeypatch, read):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 500)
    Image.fromarray(RGB).save(tmp_path / 'a.png')
    with pytest.raises(ValueError, match=r'a\.png is too large: .*1333 pixels.* PIL\.Image\.MAX_IMAGE_PIXELS sets the limit'):
        read(tmp_path / 'a.png')


@READERS
def test_a_file_over_the_limit_is_refused(tmp_path, monkeypatch, read):
    Image.fromarray(RGB).save(tmp_path / 'a.png')
    size = (tmp_path / 'a.png').stat().st_size
    monkeypatch.setattr(image_files, 'MAX_FILE_BYTES', size)
    assert read(tmp_path / 'a.png').shape == (31, 43, 3)
    monkeypatch.setattr(image_files, 'MAX_FILE_BYTES', size - 1)
    with pytest.raises(ValueError, match=rf'cannot read .*a\.png: it is too large, {size} bytes of at most {size - 1}'):
        read(tmp_path / 'a.png')


@READERS
def test_floating_point_numbers_are_refused(tmp_path, read):
    (tmp_path / 'a.pfm').write_bytes(b'Pf\n2 3\n-1.0\n' + np.ones(6, '<f4').tobytes())
    with pytest.raises(ValueError, match=r'cannot read .*a\.pfm|a\.pfm is no image'):  # Pillow 9.1 does not know the format
        read(tmp_path / 'a.pfm')


@READERS
def test_a_kind_that_pillow_does_not_know_is_refused(tmp_path, read):
    assert cv2.imwrite(str(tmp_path / 'a.hdr'), RGB.astype(np.float32))
    with pytest.raises(ValueError, match=r'a\.hdr.* kind.*AVIF, .*PNG'):
        read(tmp_path / 'a.hdr')


def test_devices_and_folders_are_no_files(tmp_path):
    for path in ('/dev/zero', tmp_path):
        with pytest.raises((ValueError, IsADirectoryError), match=str(path)):
            read_file(path)


def test_size_of_each_format(tmp_path):
    for suffix in ('png', 'jpg', 'bmp', 'ppm', 'gif', 'tiff', 'webp'):
        Image.fromarray(RGB).save(tmp_path / f'a.{suffix}')
        content = (tmp_path / f'a.{suffix}').read_bytes()
        assert image_size(content, 'a') == (43, 31)
        check_content(content, 'a')
    assert image_size(b'some text', 'a') is None


def progressive_jpeg(scans, thumbnail=b'', behind=b''):
    """A progressive JPEG whose last scan is repeated until there are ``scans``."""
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, 'JPEG', progressive=True)
    content = buffer.getvalue()[:-2]
    last = content.rindex(b'\xff\xda')
    comment = b'\xff\xfe' + struct.pack('>H', 2 + len(thumbnail)) + thumbnail  # Pillow 9.1 writes none
    return content[:2] + comment + content[2:] + (scans - content.count(b'\xff\xda')) * content[last:] + b'\xff\xd9' + behind


@READERS
def test_a_jpeg_of_too_many_scans_is_refused_undecoded(tmp_path, monkeypatch, read):
    (tmp_path / 'a.jpg').write_bytes(progressive_jpeg(image_files.MAX_JPEG_SCANS))
    assert read(tmp_path / 'a.jpg').shape == (31, 43, 3)
    decoded = []
    monkeypatch.setattr('mmcv.imfrombytes', lambda *args, **kwargs: decoded.append(args))
    monkeypatch.setattr('PIL.ImageFile.ImageFile.load', lambda self: decoded.append(self))
    (tmp_path / 'a.jpg').write_bytes(progressive_jpeg(image_files.MAX_JPEG_SCANS + 1))
    with pytest.raises(ValueError, match=r'cannot read .*a\.jpg: it is a JPEG of more than 100 scans$'):
        read(tmp_path / 'a.jpg')
    assert not decoded


def test_what_looks_like_scans_in_a_segment_or_behind_the_end_is_not_counted():
    check_content(progressive_jpeg(10, b'\xff\xda\0\x02' * 200, b'\xff\xda\0\x02' * 200), 'a.jpg')


@pytest.mark.parametrize('fill', [b'\xff', b'\xff\0\xff\xd0', b'\0'])
def test_scans_are_counted_whatever_lies_between_them(fill):
    content = progressive_jpeg(image_files.MAX_JPEG_SCANS + 1).replace(b'\xff\xda', fill + b'\xff\xda')
    with pytest.raises(ValueError, match='more than 100 scans'):
        check_content(content, 'a.jpg')


def test_a_decoded_image_is_the_file_s(tmp_path):
    Image.fromarray(RGB).save(tmp_path / 'a.png')
    np.testing.assert_array_equal(np.array(decoded(tmp_path / 'a.png')), RGB)


@pytest.mark.parametrize('damage', ['checksum', 'size', 'missing'])
def test_a_damaged_file_is_not_decoded(tmp_path, monkeypatch, damage):
    path = tmp_path / 'a.png'
    Image.fromarray(RGB).save(path)
    if damage == 'checksum':  # of the pixels, which Pillow's decoder does not look at
        content = bytearray(path.read_bytes())
        content[-13] ^= 1
        path.write_bytes(content)
    elif damage == 'size':
        monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    else:
        path.unlink()
    with pytest.raises(ValueError, match=r'^cannot read scan .*a\.png: [^\n]+$'):
        decoded(path, 'scan')
