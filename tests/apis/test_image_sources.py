import functools
import http.server
import os
import re
import socket
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovseg.apis import downloads, image_sources
from ovseg.apis.image_sources import describe, find_sources, new_name, other_files, read_image
from ovseg.datasets import LoadImage

RGB = np.random.default_rng(0).integers(0, 256, (31, 43, 3), np.uint8)
LIMIT = 10 ** 6


@pytest.fixture
def folder(tmp_path):
    """b.PNG, a.jpg and c.webp, a text file, and a sub-folder with another image."""
    (tmp_path / 'sub').mkdir()
    for name in ('b.PNG', 'a.jpg', 'c.webp', 'sub/d.png'):
        Image.fromarray(RGB).save(tmp_path / name)
    (tmp_path / 'notes.txt').write_text('no image')
    return tmp_path


@pytest.fixture
def server(folder):
    """Serves ``folder`` at the address that it gives."""
    class Handler(http.server.SimpleHTTPRequestHandler):
        agents = []

        def log_message(self, *args):
            self.agents.append(self.headers['User-Agent'])

    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Handler, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        server.url, server.agents = f'http://127.0.0.1:{server.server_port}', Handler.agents
        yield server
        server.shutdown()


def test_one_image_of_each_kind(folder):
    array, image, url = RGB, Image.fromarray(RGB), 'https://example.org/cat.jpg?size=3'
    for images, expected in ((folder / 'a.jpg', folder / 'a.jpg'), (str(folder / 'a.jpg'), folder / 'a.jpg'), (array, array),
                             (image, image), (url, url)):
        source, = find_sources(images)
        assert source is expected or source == expected


def test_a_folder_gives_its_images_in_order_and_nothing_else(folder):
    assert find_sources(folder) == find_sources(str(folder)) == [folder / name for name in ('a.jpg', 'b.PNG', 'c.webp')]


def test_a_list_of_all_kinds(folder):
    found = find_sources((RGB, folder, str(folder / 'a.jpg'), 'http://host/x.png'))
    assert found[0] is RGB
    assert found[1:] == [*find_sources(folder), folder / 'a.jpg', 'http://host/x.png']


def test_an_iterable_is_taken_one_by_one(folder):
    taken = []

    def generate():
        for name in ('a.jpg', 'missing.png', 'b.PNG'):
            taken.append(name)
            yield folder / name
    found = find_sources(generate())
    assert taken == []
    assert next(found) == folder / 'a.jpg' and taken == ['a.jpg']
    missing = next(found)
    assert missing.item == str(folder / 'missing.png') and type(missing.error) is FileNotFoundError
    assert str(missing.error) == f'there is no image or folder {folder / "missing.png"}'
    assert list(found) == [folder / 'b.PNG']
    with pytest.raises(TypeError, match='this is int: 7'):
        list(find_sources(iter([folder / 'a.jpg', 7])))


def test_home_is_found(folder, monkeypatch):
    monkeypatch.setenv('HOME', str(folder))
    assert find_sources('~/a.jpg') == [folder / 'a.jpg']


@pytest.mark.parametrize('path, shown', [('', "''"), ('~no_such_user/a.jpg', '.*~no_such_user/a.jpg')])
def test_nothing_and_an_unknown_home_are_no_image(folder, monkeypatch, path, shown):
    monkeypatch.chdir(folder)
    with pytest.raises(FileNotFoundError, match=f'there is no image or folder {shown}$'):
        find_sources([path])


def test_a_missing_path_in_a_list_is_named_at_once(folder):
    with pytest.raises(FileNotFoundError, match=r'there is no image or folder .*missing\.png'):
        find_sources([folder / 'a.jpg', 'missing.png'])


def test_a_folder_without_images_is_named(tmp_path):
    (tmp_path / 'notes.txt').write_text('no image')
    with pytest.raises(ValueError, match=f'there are no images in {tmp_path}: no file ends with .avif, .bmp'):
        find_sources(tmp_path)


def test_nothing_is_refused():
    with pytest.raises(ValueError, match='images is empty'):
        find_sources([])


@pytest.mark.parametrize('images, type_', [(7, 'int'), (None, 'NoneType'), ([None], 'NoneType'), ([[RGB]], 'list'),
                                           (b'\xff\xd8', 'int')])
def test_other_types_are_refused(images, type_):
    with pytest.raises(TypeError, match=f'an image is a path, a URL, a NumPy array or a PIL image.* this is {type_}'):
        find_sources(images)


@pytest.mark.parametrize('mode', ['RGB', 'L', 'LA', '1', 'P', 'RGBA'])
def test_files_are_read_as_data_sets_read_them(tmp_path, mode):
    Image.fromarray(RGB).convert(mode).save(tmp_path / 'a.png')
    expected = LoadImage().transform(dict(img_path=str(tmp_path / 'a.png')))['img']
    got = read_image(tmp_path / 'a.png', LIMIT)
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, expected)


def test_the_orientation_of_a_camera_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise to see it upright
    Image.fromarray(RGB).save(tmp_path / 'a.png', exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / 'a.png', LIMIT), np.rot90(RGB, -1)[..., ::-1])


@pytest.mark.parametrize('given, expected', [
    (RGB, RGB), (RGB[..., 0], RGB[..., [0, 0, 0]]), (RGB[..., :1], RGB[..., [0, 0, 0]]),
    (np.concatenate([RGB, RGB[..., :1]], -1), RGB), (RGB[::-2, ::3], RGB[::-2, ::3])],
    ids=['BGR', 'grey', 'one channel', 'BGRA', 'strided'])
def test_arrays_are_bgr(given, expected):
    got = read_image(given, LIMIT)
    np.testing.assert_array_equal(got, expected)
    assert got.flags.c_contiguous


@pytest.mark.parametrize('mode', ['RGB', 'RGBA', 'L', 'LA', '1', 'P', 'CMYK', 'YCbCr', 'HSV'])
def test_pil_images_become_bgr(mode):
    image = Image.fromarray(RGB).convert(mode)
    np.testing.assert_array_equal(read_image(image, LIMIT), np.asarray(image.convert('RGB'))[..., ::-1])


@pytest.mark.parametrize('dtype', [np.uint16, np.int32, np.float32])
def test_pil_images_of_more_than_8_bits_are_refused(dtype):
    image = Image.fromarray(np.full((31, 43), 1000, dtype))
    with pytest.raises(ValueError, match=f'of 43 x 31 pixels has mode {image.mode}: convert it to 8 bits'):
        read_image(image, LIMIT)


@pytest.mark.parametrize('size', [(0, 0), (43, 0)])
def test_pil_images_without_pixels_are_refused(size):
    with pytest.raises(ValueError, match=f'Image of {size[0]} x {size[1]} pixels is empty'):
        read_image(Image.new('RGB', size), LIMIT)


@pytest.mark.parametrize('dtype', [np.float32, np.uint16, bool, np.int64])
def test_arrays_of_other_types_are_refused(dtype):
    with pytest.raises(TypeError, match=f'must be uint8 .* not {np.dtype(dtype)}'):
        read_image(RGB.astype(dtype), LIMIT)


@pytest.mark.parametrize('shape', [(7,), (7, 5, 2), (2, 7, 5, 3), (7, 5, 5), (0, 5, 3), (7, 0), ()])
def test_arrays_of_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r'must have shape \(H, W\), .* not \(.*\)'):
        read_image(np.zeros(shape, np.uint8), LIMIT)


@pytest.mark.parametrize('content', [b'', b'some text', b'\x89PNG\r\n\x1a\n', b'\xff\xd8\xff\xe0'],
                         ids=['empty', 'text', 'PNG head', 'JPEG head'])
def test_no_image_is_named(tmp_path, content):
    (tmp_path / 'a.jpg').write_bytes(content)
    with pytest.raises(ValueError, match=r'a\.jpg is no image, or a broken one'):
        read_image(tmp_path / 'a.jpg', LIMIT)


@pytest.mark.parametrize('suffix', ['jpg', 'png'])
@pytest.mark.parametrize('kept', [0.5, 0.99])
def test_a_truncated_image_is_named(tmp_path, suffix, kept):
    path = tmp_path / f'cut.{suffix}'
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (211, 307, 3), np.uint8)).save(path)
    content = path.read_bytes()
    path.write_bytes(content[:int(len(content) * kept)])
    with pytest.raises(ValueError, match=rf'cannot read .*cut\.{suffix}: the image is cut off'):
        read_image(path, LIMIT)
    with Image.open(path) as late, pytest.raises(ValueError, match=r'cannot read .*ImageFile of 307 x 211 pixels: '):
        read_image(late, LIMIT)


@pytest.mark.parametrize('mode', ['RGB', 'L', 'CMYK'])
@pytest.mark.parametrize('progressive', [False, True])
@pytest.mark.parametrize('missing', [10, 5000])
def test_a_jpeg_without_its_end_is_refused_although_opencv_may_fill_it_up(tmp_path, monkeypatch, mode, progressive, missing):
    monkeypatch.setattr(image_sources, 'decode', lambda *args: RGB)  # as OpenCV 4, which reads what is there
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (211, 307, 3), np.uint8)).convert(mode)
    noise.save(tmp_path / 'a.jpg', progressive=progressive)
    assert read_image(tmp_path / 'a.jpg', LIMIT) is RGB
    content = (tmp_path / 'a.jpg').read_bytes()
    (tmp_path / 'a.jpg').write_bytes(content[:-missing])
    with pytest.raises(ValueError, match=r'cannot read .*a\.jpg: the image is cut off'):
        read_image(tmp_path / 'a.jpg', LIMIT)


def test_an_image_of_400_megapixels_is_refused_before_it_is_decoded(tmp_path):
    Image.new('1', (20_000, 20_000)).save(tmp_path / 'huge.png')
    with pytest.raises(ValueError, match=r'huge\.png is too large: .*400000000 pixels.*MAX_IMAGE_PIXELS sets the limit'):
        read_image(tmp_path / 'huge.png', 80_000_000)


@pytest.mark.parametrize('kind', ['file', 'array', 'PIL'])
def test_the_limit_is_exact_and_named(tmp_path, kind):
    Image.fromarray(RGB).save(tmp_path / 'a.png')
    source = dict(file=tmp_path / 'a.png', array=RGB, PIL=Image.fromarray(RGB))[kind]
    assert read_image(source, 31 * 43).shape == (31, 43, 3)
    with pytest.raises(ValueError, match=r'is too large: 43 x 31 pixels, and max_pixels=1332\. .* raise max_pixels'):
        read_image(source, 31 * 43 - 1)


def test_a_url_is_read_under_our_own_name(server, folder):
    source, = find_sources(f'{server.url}/a.jpg?size=1#top')
    np.testing.assert_array_equal(read_image(source, LIMIT), read_image(folder / 'a.jpg', LIMIT))
    assert server.agents[0].startswith('ovseg/')


def test_a_url_with_letters_that_urls_cannot_hold(server, folder):
    (folder / 'a.jpg').rename(folder / '猫 1.jpg')
    assert read_image(f'{server.url}/猫 1.jpg', LIMIT).shape == (31, 43, 3)
    assert read_image(f'{server.url}/%E7%8C%AB%201.jpg', LIMIT).shape == (31, 43, 3)


def test_a_file_url_is_the_path_that_it_names(folder):
    (folder / 'a.jpg').rename(folder / '猫 1.jpg')
    assert find_sources((folder / '猫 1.jpg').as_uri()) == [folder / '猫 1.jpg']
    assert find_sources(f'FILE://localhost{folder}/b.PNG') == [folder / 'b.PNG']
    assert find_sources([folder.as_uri()]) == find_sources(folder)
    assert other_files([folder.as_uri()]) == other_files(folder) == [folder / 'notes.txt', folder / 'sub']
    with pytest.raises(FileNotFoundError, match=r'there is no image or folder /missing\.jpg'):
        find_sources('file:///missing.jpg')


@pytest.mark.parametrize('end', ['/a.jpg#1.jpg', '/a.jpg?x=1', '/a.jpg#', '/a.jpg?', '', '?/a.jpg'])
def test_a_file_url_with_a_query_or_fragment_or_without_a_path_is_refused(folder, end):
    url = f'file://{folder}{end}' if end.startswith('/') else f'file://{end}'
    with pytest.raises(ValueError, match=f'^{re.escape(url)} must have a path, in which # is written as %23 and . as %3F$'):
        find_sources(url)


def test_a_file_url_with_escapes_names_its_file(folder):
    (folder / 'a.jpg').rename(folder / 'a#1?.jpg')
    assert find_sources(f'file://{folder}/a%231%3F.jpg') == [folder / 'a#1?.jpg']


def test_a_file_url_of_another_machine_is_refused(folder):
    with pytest.raises(FileNotFoundError, match=r'cannot get file://elsewhere/.*a\.jpg: a file:// URL names a file of this'):
        find_sources((folder / 'a.jpg').as_uri().replace('file://', 'file://elsewhere'))


def test_what_is_no_url_is_named():
    with pytest.raises(ValueError, match=r'http://\[::1/a\.jpg is no URL: Invalid IPv6 URL'):
        find_sources('http://[::1/a.jpg')


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / 'a.png')
    source, = find_sources(tmp_path)
    with pytest.raises(ValueError, match=r'cannot read .*a\.png: it is no regular file'):
        read_image(source, LIMIT)


@pytest.mark.parametrize('content', [b'P6 8 8 ' + b'9' * 400, b'P6 ' + b'9' * 400 + b' 8 255 ', b'DDS |\0\0\0' + bytes(200),
                                     b'GIF89a'], ids=['maximum', 'width', 'DDS', 'GIF'])
def test_a_broken_header_of_any_kind_is_named(tmp_path, content):
    (tmp_path / 'a.png').write_bytes(content)
    with pytest.raises(ValueError, match=r'a\.png is no image, or a broken one, or of another kind than AVIF, ') as caught:
        read_image(tmp_path / 'a.png', LIMIT)
    assert '\n' not in str(caught.value)


def test_what_is_not_at_a_url_is_named(server, folder):
    with pytest.raises(FileNotFoundError, match=rf'cannot get {server.url}/missing\.jpg: HTTP Error 404'):
        read_image(f'{server.url}/missing.jpg', LIMIT)
    with pytest.raises(ValueError, match=rf'{server.url}/notes\.txt is no image'):
        read_image(f'{server.url}/notes.txt', LIMIT)


def test_a_silent_server_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(downloads, 'SILENCE', 0.1)
    with socket.create_server(('127.0.0.1', 0)) as silent, pytest.raises(FileNotFoundError, match='timed out'):
        read_image(f'http://127.0.0.1:{silent.getsockname()[1]}/a.jpg', LIMIT)


def test_names_are_unique_in_any_case():
    taken = set()
    sources = [Path('x/cat.jpg'), Path('y/cat.png'), RGB, Path('cat_2.jpg'), 'http://h/a%20b/Cat.jpg?x=1', 'http://h/',
               Path('cat')]
    assert [new_name(source, index, taken) for index, source in enumerate(sources)] == [
        'cat', 'cat_2', '000002', 'cat_2_2', 'Cat_3', '000005', 'cat_4']


def test_thousands_of_images_of_one_name():
    taken = {'cat_3', 'cat_1000'}
    names = [new_name(Path('Cat.jpg'), 0, taken) for _ in range(3000)]
    assert len({name.casefold() for name in names}) == 3000 and not {'cat_3', 'cat_1000'} & {name.casefold() for name in names}
    assert names[:2] == ['Cat', 'Cat_2'] and max(int(name[4:]) for name in names[1:]) < 3010


@pytest.mark.parametrize('letter', ['n', 'ñ'])
def test_a_long_name_leaves_room_for_the_endings_of_its_results(letter):
    stem = letter * (251 // len(letter.encode()))
    taken = set()
    names = [new_name(Path(f'{stem}{suffix}'), 0, taken) for suffix in ('.png', '.jpg')]
    assert len(set(names)) == 2 and all(stem.startswith(name.partition('_')[0]) for name in names)
    assert all(150 < len(f'{name}.geojson.01234567.part'.encode()) <= 255 for name in names)


def test_descriptions():
    assert describe(Path('x/cat.jpg')) == str(Path('x/cat.jpg'))
    assert describe('http://h/cat.jpg') == 'http://h/cat.jpg'
    assert describe(RGB) == 'ndarray of 43 x 31 pixels'
    assert describe(Image.fromarray(RGB)) == 'Image of 43 x 31 pixels'
