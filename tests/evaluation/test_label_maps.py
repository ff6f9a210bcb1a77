from pathlib import Path

import numpy as np
import pytest
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS
from PIL import Image

from ovseg.evaluation.label_maps import (
    file_values,
    find_label_maps,
    ignore_id,
    is_whole,
    label_map_paths,
    original_ids,
    read_label_map,
    write_label_map,
)

SHAPE = (5, 7)


@pytest.fixture
def dataset(tmp_path):
    """Of images of these names."""
    def build(*names, **kwargs):
        for name in names:
            path = tmp_path / 'data' / 'images' / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new('RGB', (7, 5)).save(path)
        return DATASETS.build(dict(
            type='BaseSegDataset', data_root=str(tmp_path / 'data'), metainfo=dict(classes=['u', 'v', 'w']),
            data_prefix=dict(img_path='images', seg_map_path='annotations'), **kwargs))
    return build


def fill(folder, *names):
    for name in names:
        write_label_map(folder / name, np.zeros(SHAPE, np.uint8))


@pytest.mark.parametrize('classes, reduce_zero_label, expected', [
    (None, False, range(150)), (None, True, range(1, 151)),
    (['sky', 'wall', 'tree'], False, [2, 0, 4]), (['sky', 'wall', 'tree'], True, [3, 1, 5])])
def test_original_ids_are_those_that_mmseg_reads(classes, reduce_zero_label, expected, tmp_path):
    (tmp_path / 'images').mkdir()
    with DefaultScope.overwrite_default_scope('mmseg'):
        dataset = DATASETS.build(dict(
            type='ADE20KDataset', data_root=str(tmp_path), data_prefix=dict(img_path='images', seg_map_path='labels'),
            metainfo=classes and dict(classes=classes), reduce_zero_label=reduce_zero_label, lazy_init=True,
            pipeline=[dict(type='LoadAnnotations')]))
    ids = original_ids(dataset.metainfo)
    assert ids.tolist() == list(expected)
    Image.fromarray(np.stack([ids, ids])).save(tmp_path / 'labels.png')  # all classes side by side
    loaded = dataset.pipeline(dict(seg_map_path=str(tmp_path / 'labels.png'), label_map=dataset.label_map, seg_fields=[],
                                   reduce_zero_label=reduce_zero_label))
    assert loaded['gt_seg_map'].tolist() == [list(range(len(ids)))] * 2


@pytest.mark.parametrize('classes, reduce_zero_label, dtype', [(256, False, np.uint8), (255, True, np.uint8),
                                                               (256, True, np.uint16), (847, False, np.uint16)])
def test_ids_are_as_wide_as_needed(classes, reduce_zero_label, dtype):
    ids = original_ids(dict(classes=['x'] * classes, label_map=None, reduce_zero_label=reduce_zero_label))
    assert ids.dtype == dtype and ids[-1] == classes - 1 + reduce_zero_label


def test_label_maps_are_named_as_their_images(dataset, tmp_path):
    paths = label_map_paths(dataset('b.jpg', 'near/a.jpg', 'far/off/a.jpg', 'c.d.jpg'), 'out')
    assert sorted(map(str, paths)) == ['out/b.png', 'out/c.d.png', 'out/far/off/a.png', 'out/near/a.png']


def test_two_images_never_share_a_label_map(dataset):
    both = dataset('a.jpg', 'a.jpeg', img_suffix=('.jpg', '.jpeg'), lazy_init=True)
    both.load_data_list = lambda: [dict(img_path=f'{both.data_prefix["img_path"]}/{name}') for name in ('a.jpg', 'a.jpeg')]
    with pytest.raises(ValueError, match=r'images/a\.jpg and .*images/a\.jpeg would share the label map out/a\.png'):
        label_map_paths(both, 'out')


def test_a_data_set_without_masks_is_refused():
    with pytest.raises(ValueError, match=r'BaseSegDataset.* not list'):
        label_map_paths([], 'out')


def test_label_maps_are_found_in_sub_folders_and_flat(dataset, tmp_path):
    images = dataset('near/a.jpg', 'far/b.jpg', 'far/c.jpg')
    fill(tmp_path / 'maps', 'near/a.png', 'b.png', 'far/c.png', 'c.png')
    found = find_label_maps(images, tmp_path / 'maps')
    assert [str(path.relative_to(tmp_path / 'maps')) for path in found] == ['b.png', 'far/c.png', 'near/a.png']


def test_missing_label_maps_are_counted_and_the_first_named(dataset, tmp_path):
    images = dataset(*(f'{name}.jpg' for name in 'abcdefgh'))
    fill(tmp_path, 'b.png')
    with pytest.raises(FileNotFoundError) as error:
        find_label_maps(images, tmp_path)
    names = ', '.join(f'{tmp_path}/{name}.png' for name in 'acdef')
    assert str(error.value) == f'7 of 8 label maps are missing: {names}, …; ovseg test CONFIG --out FOLDER writes them'


def test_one_flat_label_map_does_not_serve_two_images(dataset, tmp_path):
    images = dataset('near/a.jpg', 'far/a.jpg')
    fill(tmp_path / 'maps', 'a.png')
    with pytest.raises(ValueError, match=r'far/a\.png and .*near/a\.png would share the label map .*maps/a\.png'):
        find_label_maps(images, tmp_path / 'maps')


@pytest.mark.parametrize('dtype, top', [(np.uint8, 255), (np.uint16, 846)])
def test_what_is_written_is_read(dtype, top, tmp_path):
    ids = np.arange(top - 12, top + 1).astype(dtype)  # 13 classes
    labels = np.random.default_rng(0).integers(0, 13, SHAPE)
    path = tmp_path / 'sub' / 'a.png'
    write_label_map(path, ids[labels])
    assert np.array_equal(np.array(Image.open(path)), labels + top - 12)
    assert np.array_equal(read_label_map(path, ids, SHAPE), labels)
    assert [file.name for file in path.parent.iterdir()] == ['a.png']


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / 'a.png'
    write_label_map(path, np.full(SHAPE, 3, np.uint8))

    write = Path.write_bytes

    def half(part, content):
        write(part, b'\x89PNG')
        raise KeyboardInterrupt
    monkeypatch.setattr(Path, 'write_bytes', half)
    with pytest.raises(KeyboardInterrupt):
        write_label_map(path, np.full(SHAPE, 5, np.uint8))
    assert np.array_equal(np.array(Image.open(path)), np.full(SHAPE, 3))
    assert list(tmp_path.glob('*.png')) == [path]


@pytest.mark.parametrize('mode', ['L', 'P', 'I;16'])
def test_kinds_of_pixels(mode, tmp_path):
    values = np.array([[3, 5, 3], [4, 4, 5]])
    image = Image.fromarray(values.astype(np.uint16 if mode == 'I;16' else np.uint8))
    if mode == 'P':
        image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9, 9, 9, 9, 8, 8, 8])
        assert image.mode == 'P'
    image.save(tmp_path / 'a.png')
    labels = read_label_map(tmp_path / 'a.png', np.array([5, 3, 4]), (2, 3))
    assert labels.dtype == np.int64 and labels.tolist() == [[1, 0, 1], [2, 2, 0]]


def test_a_picture_is_no_label_map(tmp_path):
    Image.new('RGB', (7, 5)).save(tmp_path / 'a.png')
    with pytest.raises(ValueError, match=r'a\.png is no label map: it has pixels of type RGB'):
        read_label_map(tmp_path / 'a.png', np.arange(3), SHAPE)


def test_a_label_map_of_another_size_is_refused(tmp_path):
    fill(tmp_path, 'a.png')
    with pytest.raises(ValueError, match=r'a\.png has 5 x 7 pixels, but its image has 7 x 5'):
        read_label_map(tmp_path / 'a.png', np.arange(3), (7, 5))


@pytest.mark.parametrize('ids', [range(1, 4), range(3)])
def test_values_that_are_no_class_are_refused(ids, tmp_path):
    write_label_map(tmp_path / 'a.png', np.array([[0, 1, 2, 3, 254]], np.uint8))
    strange = '0, 254' if 0 not in ids else '3, 254'
    with pytest.raises(ValueError, match=rf'a\.png has .* no class: {strange}; classes are {min(ids)} to {max(ids)}'):
        read_label_map(tmp_path / 'a.png', np.array(ids), (1, 5))


@pytest.mark.parametrize(('ids', 'ignored', 'dtype'), [
    (range(3), 255, np.uint8), (range(1, 255), 255, np.uint8), (range(255), 255, np.uint8), (range(1, 256), 65535, np.uint16),
    (range(256), 65535, np.uint16), ([7, 300, 254], 65535, np.uint16), ([255, 3], 65535, np.uint16)],
    ids=lambda value: str(value)[:16])
def test_pixels_without_a_class_keep_none(ids, ignored, dtype, tmp_path):
    ids = np.array(ids).astype(np.min_scalar_type(max(ids)))
    labels = np.resize(np.arange(len(ids)), 323).reshape(17, 19)
    labels[3, 5:7] = 255 if len(ids) < 256 else 65535
    values = file_values(labels, ids)
    assert ignore_id(ids) == ignored and ignored not in ids and values.dtype == dtype
    assert (values == ignored).sum() == 2 and (values[3, 5:7] == ignored).all()
    write_label_map(tmp_path / 'a.png', values)
    assert np.array_equal(read_label_map(tmp_path / 'a.png', ids, (17, 19)), labels)


def test_label_maps_with_a_class_everywhere_are_as_wide_as_their_ids():
    ids = np.arange(256).astype(np.uint8)
    assert file_values(np.array([[255, 3]]), ids).dtype == np.uint8


@pytest.mark.parametrize(('ids', 'values'), [([0, 1, 2], [[0, 65535]]), ([0, 300], [[0, 255]])])
def test_the_other_ignore_value_is_refused(ids, values, tmp_path):
    write_label_map(tmp_path / 'a.png', np.array(values, np.uint16))
    with pytest.raises(ValueError, match=rf'a\.png has values that are no class: {values[0][1]};'):
        read_label_map(tmp_path / 'a.png', np.array(ids), (1, 2))


@pytest.mark.parametrize('value', [-1, -254, -256, 256, 2 ** 31 - 1, -2 ** 31])
def test_values_out_of_range_are_refused(value, tmp_path):
    """A negative index would be counted from the end of the table, and a table up to the value would be of any size."""
    values = np.array([[0, 2, 1], [value, 255, 0]], np.int32)
    Image.fromarray(values).save(tmp_path / 'a.tif')
    with pytest.raises(ValueError, match=rf'a\.tif has values that are no class: {value}; classes are 0 to 2'):
        read_label_map(tmp_path / 'a.tif', np.arange(3), (2, 3))


@pytest.mark.parametrize('content', [b'', b'no image', None])
def test_a_broken_file_is_named(content, tmp_path):
    path = tmp_path / 'a.png'
    if content is None:  # cut off
        Image.fromarray(np.random.default_rng(0).integers(0, 3, (101, 103)).astype(np.uint8)).save(path)
        content = path.read_bytes()[:-500]
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r'cannot read label map .*a\.png'):
        read_label_map(path, np.arange(3), (101, 103))


def test_every_flipped_bit_is_noticed(tmp_path):
    """Pillow decodes most of these files without an error, some of them to other labels."""
    path = tmp_path / 'a.png'
    write_label_map(path, np.random.default_rng(0).integers(0, 3, (31, 37)).astype(np.uint8))
    content = path.read_bytes()
    assert is_whole(path)
    for byte in range(len(content) - 12):  # the last 12 bytes are those of the end mark, which holds no pixels
        path.write_bytes(content[:byte] + bytes([content[byte] ^ 1 << byte % 8]) + content[byte + 1:])
        assert not is_whole(path), byte
        with pytest.raises(ValueError, match=r'cannot read label map .*a\.png'):
            read_label_map(path, np.arange(3), (31, 37))
