import io
import os
import re
import zipfile

import numpy as np
import pytest
import torch
from mmseg.structures import SegDataSample

from ovseg.models.regions import NpzRegions
from ovseg.models.regions.npz_regions import read_regions, write_regions

REGIONS = np.random.default_rng(0).integers(0, 5, (7, 11)).astype(np.uint16)
RGB = torch.zeros(3, 5, 3)


def store(path, **arrays):
    np.savez_compressed(path, **arrays)
    return path


def sample_of(path='images/here.jpg', **metainfo):
    return SegDataSample(metainfo={'img_path': path, 'ori_shape': (7, 11), **metainfo})


@pytest.fixture
def source(tmp_path):
    store(tmp_path / 'here.npz', instance_mask=REGIONS)
    return NpzRegions(str(tmp_path))


@pytest.mark.parametrize('dtype', [np.uint8, np.int16, np.int64, np.uint64])
def test_the_smallest_number_means_no_region(tmp_path, dtype):
    shift = 0 if np.issubdtype(dtype, np.unsignedinteger) else -1
    numbers = np.array([[3, 3, 0], [0, 9, 5]]).astype(dtype) + dtype(shift)
    found = read_regions(store(tmp_path / 'a.npz', instance_mask=numbers))
    assert found.tolist() == [[1, 1, 0], [0, 3, 2]] and found.dtype == np.int64


def test_found_by_the_stem_of_the_image(source):
    found = source(None, RGB, sample_of('anywhere/else/here.png'))
    assert torch.equal(found, torch.from_numpy(REGIONS.astype(np.int64)))


@pytest.mark.parametrize(('direction', 'axes'), [('horizontal', (1,)), ('vertical', (0,)), ('diagonal', (0, 1))])
def test_mirrored_with_the_image(source, direction, axes):
    found = source(None, RGB, sample_of(flip=True, flip_direction=direction))
    assert np.array_equal(found.numpy(), np.flip(REGIONS, axes))


BROKEN = {  # arrays of a file, and the end of the message
    'other array': (dict(masks=REGIONS), "it has no array 'instance_mask', but 'masks'"),
    'floats': (dict(instance_mask=REGIONS.astype(np.float32)), 'a map of integers (H, W), not float32 of shape (7, 11)'),
    'stack': (dict(instance_mask=np.stack([REGIONS] * 3)), 'must be a map of integers (H, W), not uint16 of shape (3, 7, 11)'),
    'empty': (dict(instance_mask=np.zeros((0, 11), np.uint8)), 'must be a map of integers (H, W), not uint8 of shape (0, 11)'),
    'one region': (dict(instance_mask=np.full((7, 11), 3)), 'instance_mask is 3 everywhere, which means no region at all'),
    'too many': (dict(instance_mask=np.arange(65537).reshape(1, -1)), 'has 65536 regions, and at most 65535 are allowed'),
    'objects': (dict(instance_mask=np.full((7, 11), None)), 'Object arrays cannot be loaded when allow_pickle=False')}


@pytest.mark.parametrize('kind', BROKEN)
def test_a_file_without_a_region_map_is_named(tmp_path, kind):
    arrays, message = BROKEN[kind]
    with pytest.raises(ValueError, match=f'^{re.escape(str(tmp_path))}/a.npz.*{re.escape(message)}$'):
        read_regions(store(tmp_path / 'a.npz', **arrays))


@pytest.mark.parametrize('content', [b'', b'PK\x03\x04 no archive', b'text', 'array'])
def test_another_file_is_named(tmp_path, content):
    path = tmp_path / 'a.npz'
    if content == 'array':
        with path.open('wb') as file:
            np.save(file, REGIONS)
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r'a\.npz cannot be read as region maps: '):
        read_regions(path)


@pytest.mark.parametrize('shape', ['(1000000000, 1000000000)', '(0, 10000000000000000000000)'])
def test_a_header_of_an_impossible_size_is_named(tmp_path, shape):
    header = f"{{'descr': '<u2', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b'\n'
    with zipfile.ZipFile(tmp_path / 'a.npz', 'w') as file:
        file.writestr('instance_mask.npy', b'\x93NUMPY\x01\x00' + len(header).to_bytes(2, 'little') + header)
    with pytest.raises(ValueError, match=r'a\.npz cannot be read as region maps: '):
        read_regions(tmp_path / 'a.npz')


@pytest.mark.parametrize('compression', [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_corrupt_content_is_named(tmp_path, compression):
    array, path = io.BytesIO(), tmp_path / 'a.npz'
    np.save(array, REGIONS)
    with zipfile.ZipFile(path, 'w', compression) as file:
        file.writestr('instance_mask.npy', array.getvalue())
    content = path.read_bytes()
    path.write_bytes(content[:60] + b'\xff' * 20 + content[80:])
    with pytest.raises(ValueError, match=r'a\.npz cannot be read as region maps: '):
        read_regions(path)


def test_65535_regions_are_read(tmp_path):
    found = read_regions(store(tmp_path / 'a.npz', instance_mask=np.arange(65536).reshape(64, 1024)))
    assert found.max() == 65535


def test_a_missing_file_is_named(source):
    with pytest.raises(FileNotFoundError, match=r'there\.npz does not exist: NpzRegions needs a region map of each image'):
        source(None, RGB, sample_of('there.jpg'))


def test_images_without_files_are_refused(source):
    source.check_images(['here.jpg', 'folder/here.png'])
    with pytest.raises(FileNotFoundError, match=r'there\.npz does not exist'):
        source.check_images(['here.jpg', 'there.jpg'])


def test_an_image_without_path_is_refused(source):
    with pytest.raises(ValueError, match='NpzRegions finds region maps by img_path, and the image has none'):
        source(None, RGB, SegDataSample())


def test_a_map_of_another_size_is_refused(source):
    with pytest.raises(ValueError, match=r'here\.npz: instance_mask has 7 x 11 pixels, and its image here\.jpg has 11 x 7'):
        source(None, RGB, sample_of('here.jpg', ori_shape=(11, 7)))


@pytest.mark.parametrize('root', ['', 3, None])
def test_root_must_be_a_path(root):
    with pytest.raises(ValueError, match=r'NpzRegions root=.* must be the path of a folder'):
        NpzRegions(root)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'NpzRegions root=.*nowhere is no folder'):
        NpzRegions(str(tmp_path / 'nowhere')).check()


def test_the_digest_changes_with_the_files(source, tmp_path):
    before = source.digest()
    assert NpzRegions(str(tmp_path)).digest() == before
    os.utime(tmp_path / 'here.npz', (0, 0))
    assert source.digest() != before


@pytest.mark.parametrize('numbers', [
    np.zeros((3, 5)), np.ones((3, 5)), np.arange(1, 16).reshape(3, 5), np.arange(15).reshape(3, 5)])
def test_what_is_written_is_read(tmp_path, numbers):
    write_regions(tmp_path / 'a.npz', numbers.astype(np.int64))
    found = read_regions(tmp_path / 'a.npz')
    assert np.array_equal(found, numbers) and found.dtype == np.int64
    assert np.load(tmp_path / 'a.npz')['instance_mask'].dtype == np.uint16


@pytest.mark.parametrize('number', [0.5, [1, 2], True])
def test_no_region_that_is_no_integer_is_refused(tmp_path, number):
    path = store(tmp_path / 'a.npz', instance_mask=np.array([[2, 7], [7, 2]]), no_region=number)
    with pytest.raises(ValueError, match=r'a\.npz.*no_region must be one integer, not'):
        read_regions(path)


def test_no_region_may_be_any_number(tmp_path):
    found = read_regions(store(tmp_path / 'a.npz', instance_mask=np.array([[2, 7, 9], [7, 7, 2]]), no_region=7))
    assert found.tolist() == [[1, 0, 2], [0, 0, 1]]
