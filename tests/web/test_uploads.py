import cv2
import numpy as np
import pytest
from PIL import Image

from ovseg.web import uploads
from ovseg.web.uploads import read_upload, scaled_down, small


def test_large_images_are_made_small_for_the_page():
    pixels = np.zeros((2048, 512, 3), np.uint8)
    assert small(pixels).shape == (1024, 256, 3)
    assert small(pixels[:1024]).shape == (1024, 512, 3)
    assert small(np.zeros((5000, 1), np.uint8)).shape == (1024, 1)
    labels = np.repeat([3, 700], 1500).astype(np.uint16)[:, None].repeat(7, axis=1)
    assert set(np.unique(small(labels, cv2.INTER_NEAREST))) == {3, 700}


def test_uploads_are_read_and_refused_by_name(tmp_path, image_file, noise, monkeypatch):
    monkeypatch.setattr(uploads, 'READABLE', 10 ** 4)
    upload = read_upload(str(image_file), 61 * 83)
    np.testing.assert_array_equal(upload.image, noise[..., ::-1])
    assert upload.note == ''
    text, cut, large = tmp_path / 'text.jpg', tmp_path / 'cut.png', tmp_path / 'large.png'
    Image.new('L', (1000, 1000)).save(large)
    text.write_text('no image')
    cut.write_bytes(image_file.read_bytes()[:2000])
    for path, most, message in ((text, 10 ** 6, 'text.jpg is no image'), (cut, 10 ** 6, r'cannot read cut\.png'),
                                (large, 10 ** 6 - 1, r'large\.png is too large')):
        with pytest.raises(ValueError, match=message) as caught:
            read_upload(str(path), most)
        assert str(tmp_path) not in str(caught.value)
    with pytest.raises(ValueError, match='there is no image'):
        read_upload(None, 10 ** 6)


@pytest.mark.parametrize('path', ['/deleted/by/gradio/cat.jpg', 'http://127.0.0.1:9/cat.jpg'])
def test_what_is_not_on_the_server_is_named_without_its_folder_and_never_fetched(path):
    with pytest.raises(ValueError, match=r'^cat\.jpg is not on the server any more: drop it again$'):
        read_upload(path, 10 ** 6)


def test_a_photograph_of_a_phone_is_turned_and_scaled_down(tmp_path):
    """48 megapixels on their side: left half red, so that upright the upper half is."""
    photograph, exif = Image.new('RGB', (8064, 6048), 'blue'), Image.Exif()
    photograph.paste('red', (0, 0, 4032, 6048))
    exif[0x0112] = 6  # turn to the right
    photograph.save(tmp_path / 'IMG_1.jpg', exif=exif)
    upload = read_upload(str(tmp_path / 'IMG_1.jpg'), 4_000_000)
    height, width = upload.image.shape[:2]
    assert upload.size == (8064, 6048) and height * width <= 4_000_000 < (height + 2) * (width + 2)
    assert height / width == pytest.approx(8064 / 6048, rel=0.001)
    assert upload.image[height // 4, width // 2].argmax() == 2 and upload.image[-height // 4, width // 2].argmax() == 0
    assert upload.note == (f'The image has 6048 × 8064 pixels, more than this page computes with. It was scaled down to '
                           f'{width} × {height}.')


@pytest.mark.parametrize('size', [(61, 83), (1, 100_000), (100_000, 1), (3, 50_000), (317, 331)])
@pytest.mark.parametrize('most', [1, 7, 5063, 90_001])
def test_images_of_any_proportions_are_scaled_down(size, most):
    image = np.full((*size, 3), 77, np.uint8)
    height, width, _ = scaled_down(image, most).shape
    assert 0 < height * width <= most
    assert (height, width) == size or height * width > most / 4 or 1 in (height, width)
    assert (scaled_down(image, most) == 77).all()
