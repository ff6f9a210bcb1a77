"""Broken image files: pixels or one line that names the file, within bounds of memory and time."""
import io
import random
import re
import struct
import time
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from ovseg.apis.image_sources import read_image
from ovseg.datasets import LoadImage

WIDTH, HEIGHT = 43, 31
MAX_PIXELS = 1_000_000
MAX_GROWTH_MB, MAX_SECONDS = 150, 20
EXTREME = (0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 10 ** 6, 0x7fffffff, 0x80000000, 0xffffffff)
OPTIONS = {'png': [{}, dict(icc_profile=bytes(99))], 'jpg': [{}, dict(progressive=True), dict(quality=100)],
           'tiff': [{}, dict(compression='tiff_lzw'), dict(compression='tiff_deflate'), dict(compression='jpeg')],
           'webp': [{}, dict(lossless=True)], 'ppm': [{}], 'bmp': [{}], 'gif': [{}], 'dds': [{}], 'jp2': [{}], 'avif': [{}],
           'ico': [{}], 'tga': [{}]}
MODES = {'png': ['RGB', 'RGBA', 'L', 'P', '1', 'I;16'], 'jpg': ['RGB', 'L', 'CMYK'], 'tiff': ['RGB', 'L'], 'bmp': ['RGB', 'P'],
         'ppm': ['RGB', 'L', '1']}


@pytest.fixture(autouse=True)
def quiet_decoders():
    set_level = cv2.utils.logging.setLogLevel if hasattr(cv2.utils, 'logging') else cv2.setLogLevel  # before OpenCV 5
    before = set_level(0)
    yield
    set_level(before)


@pytest.fixture(scope='module')
def originals():
    """Whole files of every kind, and texts, that are mutated."""
    rng = np.random.default_rng(0)
    pixels = np.kron(rng.integers(0, 256, (8, 11, 3)), np.ones((4, 4, 1))).astype(np.uint8)[:HEIGHT, :WIDTH]
    files = [b'P3\n43 31\n255\n' + b' '.join(b'%d' % value for value in pixels.ravel()),
             b'Pf\n43 31\n-1.0\n' + bytes(4 * 43 * 31)]
    Image.init()
    for suffix, options in OPTIONS.items():
        if Image.registered_extensions().get(f'.{suffix}') not in Image.SAVE:
            continue  # this Pillow has no such codec
        for mode in MODES.get(suffix, ['RGB']):
            for option in options:
                if mode == 'I;16':
                    image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 200)
                else:
                    image = Image.fromarray(pixels).convert(mode)
                if option.get('compression') == 'jpeg' and mode != 'RGB':
                    continue
                file = io.BytesIO()
                image.save(file, Image.registered_extensions()[f'.{suffix}'], **option)
                files.append(file.getvalue())
    return files


def with_checksums(content):
    """A PNG whose chunks have the checksums that belong to them, so that what is in them is looked at."""
    parts, start = [content[:8]], 8
    while start + 12 <= len(content):
        length, = struct.unpack_from('>I', content, start)
        body = content[start + 4:start + 8 + length]
        if len(body) < 4 + length:
            break
        parts.append(content[start:start + 4] + body + struct.pack('>I', zlib.crc32(body)))
        start += 12 + length
    return b''.join([*parts, content[start:]])


def mutated(rng, content, other):
    """One random change of a file: bytes, its end, its length, its numbers, or a part of another file in it."""
    content = bytearray(content)
    place = rng.randrange(rng.choice([min(64, len(content)), len(content)]))
    kind = rng.choice(['flip', 'cut', 'splice', 'remove', 'repeat', 'integer', 'size', 'digits'])
    if kind == 'flip':
        for _ in range(rng.choice([1, 2, 8])):
            content[rng.randrange(len(content))] = rng.randrange(256)
    elif kind == 'cut':
        del content[place:]
    elif kind == 'splice':
        content[place:] = other[rng.randrange(len(other)):]
    elif kind == 'remove':
        del content[place:place + rng.choice([1, 2, 4, 100])]
    elif kind == 'repeat':
        content[place:place] = content[place:place + rng.choice([1, 4, 100])] * rng.choice([1, 100])
    elif kind == 'integer':
        format_ = rng.choice(['>H', '<H', '>I', '<I'])
        limit = 256 ** struct.calcsize(format_)
        content[place:place + struct.calcsize(format_)] = struct.pack(format_, rng.choice(EXTREME) % limit)
    elif kind == 'size':  # the width or the height, wherever they are written
        format_, value = rng.choice(['>H', '<H', '>I', '<I']), rng.choice([WIDTH, HEIGHT, WIDTH - 1, HEIGHT - 1])
        limit = 256 ** struct.calcsize(format_)
        new = struct.pack(format_, rng.choice([*EXTREME, 900, 1100]) % limit)
        content = content.replace(struct.pack(format_, value), new, rng.choice([1, 2]))
    else:
        digits = rng.choice([b'9' * 400, b'9' * 5000, b'-1', b'0', b'4294967296', b'999 999', b'\n', b'#'])
        content = bytearray(re.sub(rb'\d+', digits, bytes(content), count=rng.choice([1, 2, 3])))
    return bytes(content)


def reset_peak_memory():
    with open('/proc/self/clear_refs', 'w') as file:
        file.write('5')


def memory_mb(key):
    with open('/proc/self/status') as file:
        return next(int(line.split()[1]) for line in file if line.startswith(key)) / 1024


def test_every_broken_file_gives_pixels_or_one_line_that_names_it(attack, originals, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', MAX_PIXELS // 2)
    path, loader, read = tmp_path / 'broken image.png', LoadImage(), [0, 0]
    for content in originals:  # their memory is not counted
        path.write_bytes(content)
        outcome(lambda: read_image(path, MAX_PIXELS), path)
    for seed in attack.seeds(500, 12_000):
        with attack.one_case(seed):
            rng = random.Random(seed)
            content = mutated(rng, rng.choice(originals), rng.choice(originals))
            if rng.random() < 0.3:
                content = mutated(rng, content or b'\0', rng.choice(originals))
            if content.startswith(b'\x89PNG') and rng.random() < 0.8:
                content = with_checksums(content)
            path.write_bytes(content)
            for index, reader in enumerate([lambda: read_image(path, MAX_PIXELS),
                                            lambda: loader.transform(dict(img_path=str(path)))['img']]):
                reset_peak_memory()
                before, start = memory_mb('VmRSS'), time.perf_counter()
                read[index] += outcome(reader, path)
                assert time.perf_counter() - start < MAX_SECONDS
                assert memory_mb('VmHWM') - before < MAX_GROWTH_MB
        if seed % 500 == 0:
            capfd.readouterr()  # what the decoders write is not kept
    assert 0.1 * attack.cases < min(read) and max(read) < 0.9 * attack.cases  # both outcomes were met


def outcome(reader, path):
    """Return True if a file could be read; any other end than the two that are promised is an error."""
    try:
        image = reader()
    except ValueError as error:
        assert str(path) in str(error) and '\n' not in str(error), str(error)
        return False
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    assert 0 < image.size <= 3 * MAX_PIXELS
    return True


def test_arrays_of_any_shape_and_type_give_pixels_or_one_line(attack):
    for seed in attack.seeds(500, 5_000):
        with attack.one_case(seed):
            rng = random.Random(seed)
            shape = tuple(rng.choice([0, 1, 2, 3, 4, 5, 7]) for _ in range(rng.randrange(5)))
            dtype = rng.choice(['u1', 'u1', 'u1', 'i1', 'f4', '>f8', 'c8', 'O', 'S3', 'U2', 'M8[s]', '?', 'i4,f4'])
            array = np.zeros(shape, dtype)
            right = (array.dtype == np.uint8 and array.ndim in (2, 3) and 0 not in shape
                     and shape[2:] in ((), (1,), (3,), (4,)))
            try:
                image = read_image(array, MAX_PIXELS)
            except (TypeError, ValueError) as error:
                assert str(error).startswith('an image as an array must') and '\n' not in str(error)
                assert not right
            else:
                assert right and image.shape == (*shape[:2], 3)
