import numpy as np
import pytest
from mmseg.registry import TRANSFORMS
from PIL import Image

from ovseg.datasets import LoadImage

RGB = np.random.default_rng(0).integers(0, 256, (31, 43, 3), np.uint8)


def load(path):
    return LoadImage().transform(dict(img_path=str(path)))


def save(path, array, mode=None):
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path)
    return path


def test_configs_find_it_in_mmseg():
    assert isinstance(TRANSFORMS.build(dict(type='LoadImage')), LoadImage)


def test_colour_is_read_as_bgr_with_its_shapes(tmp_path):
    results = load(save(tmp_path / 'a.png', RGB))
    np.testing.assert_array_equal(results['img'], RGB[..., ::-1])
    assert results['img_shape'] == results['ori_shape'] == (31, 43)


def test_grey_becomes_three_equal_channels(tmp_path):
    image = load(save(tmp_path / 'a.png', RGB[..., 0]))['img']
    np.testing.assert_array_equal(image, np.stack([RGB[..., 0]] * 3, -1))


def test_alpha_is_dropped(tmp_path):
    rgba = np.concatenate([RGB, np.full((31, 43, 1), 200, np.uint8)], -1)
    np.testing.assert_array_equal(load(save(tmp_path / 'a.png', rgba))['img'], RGB[..., ::-1])


def test_sixteen_bits_become_eight(tmp_path):
    image = load(save(tmp_path / 'a.png', RGB[..., 0].astype(np.uint16) * 257))['img']
    np.testing.assert_array_equal(image, np.stack([RGB[..., 0]] * 3, -1))


def test_a_palette_is_resolved(tmp_path):
    image = Image.fromarray(RGB).quantize(17)
    image.save(tmp_path / 'a.png')
    np.testing.assert_array_equal(load(tmp_path / 'a.png')['img'], np.array(image.convert('RGB'))[..., ::-1])


@pytest.mark.parametrize('mode', ['RGB', 'L', 'LA', '1', 'P', 'RGBA'])
def test_every_kind_of_png_becomes_8_bit_with_three_channels(tmp_path, mode):
    image = load(save(tmp_path / 'a.png', RGB, mode))['img']
    assert image.shape == (31, 43, 3) and image.dtype == np.uint8


@pytest.mark.parametrize('content', [b'', b'no image at all', b'\x89PNG\r\n\x1a\n'], ids=['empty', 'text', 'only a header'])
@pytest.mark.parametrize('suffix', ['png', 'jpg'])
def test_no_image_names_the_file(tmp_path, content, suffix):
    path = tmp_path / f'broken.{suffix}'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f'cannot read image .*broken.{suffix}'):
        load(path)


@pytest.mark.parametrize('suffix', ['png', 'jpg'])
@pytest.mark.parametrize('kept', [0.1, 0.5, 0.9, 0.99])
def test_a_truncated_image_names_the_file(tmp_path, suffix, kept):
    path = save(tmp_path / f'cut.{suffix}', np.random.default_rng(0).integers(0, 256, (211, 307, 3), np.uint8))
    content = path.read_bytes()
    path.write_bytes(content[:int(len(content) * kept)])
    with pytest.raises(ValueError, match=f'cannot read image .*cut.{suffix}'):
        load(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'missing\.png'):
        load(tmp_path / 'missing.png')
