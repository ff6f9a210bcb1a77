import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from ovseg.apis.request import Request
from ovseg.apis.result_folder import ResultFolder
from ovseg.claims import LOCK
from ovseg.models.decoder import Decoder
from ovseg.visualization.contact_sheet import overlay
from ovseg.visualization.palette import distinct_colours
from ovseg.vocabulary import Vocabulary

WORDS = ['zebra', 'ladybug; 瓢虫', 'snow']


def read(path):
    return np.array(Image.open(path))


def legend(folder):
    return json.loads((folder / 'legend.json').read_text(encoding='utf-8'))


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file() and path.name != LOCK)


def test_what_is_written_is_what_is_returned(inferencer, noise, tmp_path):
    images = [noise(61, 83), noise(37, 29, seed=1)]
    result = inferencer(images, WORDS, background='sky, sand', out_dir=tmp_path / 'a' / 'b', return_vis=True)
    folder = tmp_path / 'a' / 'b'
    assert files(folder) == ['legend.json', 'pred/000000.png', 'pred/000001.png', 'vis/000000.png', 'vis/000001.png']
    colours = [[0, 0, 0], *distinct_colours(3)]
    for name, image, labels, painted in zip(result['names'], images, result['predictions'], result['visualization']):
        np.testing.assert_array_equal(read(folder / 'pred' / f'{name}.png'), labels)
        np.testing.assert_array_equal(read(folder / 'vis' / f'{name}.png'), painted)
        height, width = labels.shape
        np.testing.assert_array_equal(painted[:height, :width], overlay(image[..., ::-1], labels, colours))
    assert legend(folder) == dict(
        classes=[dict(id=0, name='background', synonyms=['sky', 'sand'], colour=colours[0]),
                 dict(id=1, name='zebra', synonyms=['zebra'], colour=colours[1]),
                 dict(id=2, name='ladybug', synonyms=['ladybug', '瓢虫'], colour=colours[2]),
                 dict(id=3, name='snow', synonyms=['snow'], colour=colours[3])],
        images=[dict(name='000000', source='ndarray of 83 x 61 pixels', areas=result['areas'][0]),
                  dict(name='000001', source='ndarray of 29 x 37 pixels', areas=result['areas'][1])])


def test_over_255_classes_take_16_bits(inferencer, scene, tmp_path):
    words = [*(f'word {index}' for index in range(299)), 'grass']
    result = inferencer(read(scene(0))[:97, :101, ::-1], words, out_dir=tmp_path)
    written = cv2.imread(str(tmp_path / 'pred' / '000000.png'), cv2.IMREAD_UNCHANGED)  # older Pillow reads 32 bits
    assert written.dtype == np.uint16 and (written == 299).mean() > 0.5
    np.testing.assert_array_equal(written, result['predictions'][0])
    assert len(legend(tmp_path)['classes']) == 300


def test_images_of_one_name_do_not_overwrite_each_other(inferencer, noise, tmp_path):
    for folder, seed in (('x', 0), ('y', 1)):
        (tmp_path / folder).mkdir()
        Image.fromarray(noise(37, 29, seed=seed)).save(tmp_path / folder / 'cat.png')
    out = tmp_path / 'out'
    result = inferencer([tmp_path / 'x', tmp_path / 'y'], WORDS, out_dir=out)
    assert result['names'] == ['cat', 'cat_2']
    assert files(out) == ['legend.json', 'pred/cat.png', 'pred/cat_2.png', 'vis/cat.png', 'vis/cat_2.png']
    assert [(item['name'], item['source']) for item in legend(out)['images']] == [
        ('cat', str(tmp_path / 'x' / 'cat.png')), ('cat_2', str(tmp_path / 'y' / 'cat.png'))]


def test_a_later_call_replaces_its_own_and_the_legend_tells_of_it_alone(inferencer, noise, tmp_path):
    inferencer([noise(37, 29), noise(31, 41)], WORDS, out_dir=tmp_path)
    result = inferencer(noise(37, 29), ['sky', 'sand'], out_dir=tmp_path)
    np.testing.assert_array_equal(read(tmp_path / 'pred' / '000000.png'), result['predictions'][0])
    assert (tmp_path / 'pred' / '000001.png').is_file()
    assert [item['name'] for item in legend(tmp_path)['images']] == ['000000']
    assert [item['name'] for item in legend(tmp_path)['classes']] == ['sky', 'sand']


def test_a_broken_image_leaves_the_results_before_it(inferencer, noise, tmp_path):
    (tmp_path / 'broken.jpg').write_bytes(b'no image')
    with pytest.raises(ValueError, match=r'broken\.jpg is no image'):
        inferencer([noise(37, 29), tmp_path / 'broken.jpg'], WORDS, out_dir=tmp_path / 'out')
    assert files(tmp_path / 'out') == ['legend.json', 'pred/000000.png', 'vis/000000.png']
    assert [item['name'] for item in legend(tmp_path / 'out')['images']] == ['000000']


def test_a_full_disk_is_said_with_the_folder_and_leaves_what_is_there(inferencer, noise, tmp_path, monkeypatch):
    inferencer(noise(37, 29), WORDS, out_dir=tmp_path)
    before = (tmp_path / 'legend.json').read_bytes()
    results = ResultFolder(tmp_path, Request(['cat'], Vocabulary(['cat']), Decoder()), [[1, 2, 3]])
    (tmp_path / 'legend.json').write_bytes(before)

    def full(*args, **kwargs):
        args[0].write_bytes(b'half')
        raise OSError(28, 'No space left on device')

    def full_of_bytes(path, content):
        write_bytes(path, content[:3])
        raise OSError(28, 'No space left on device')
    write_bytes = Path.write_bytes
    monkeypatch.setattr(Path, 'write_text', full)
    with pytest.raises(OSError, match=f"cannot write into out_dir='{tmp_path}': .*No space left"):
        results.write_legend()
    assert (tmp_path / 'legend.json').read_bytes() == before
    monkeypatch.setattr(Path, 'write_bytes', full_of_bytes)
    with pytest.raises(OSError, match=f"cannot write into out_dir='{tmp_path}': "):
        results.add('b', 'b.jpg', np.zeros((3, 5), np.uint8), {}, noise(3, 5))
    assert files(tmp_path) == ['legend.json', 'pred/000000.png', 'vis/000000.png']


def test_a_file_name_that_is_not_utf_8_stands_in_the_legend(inferencer, noise, tmp_path):
    image = tmp_path / os.fsdecode(b'caf\xe9.png')
    try:
        Image.fromarray(noise(37, 29)).save(image)
    except (OSError, UnicodeError):
        pytest.skip('this file system takes UTF-8 only')
    inferencer(image, WORDS, out_dir=tmp_path / 'out')
    assert [item['source'] for item in legend(tmp_path / 'out')['images']] == [str(image)]


def test_a_folder_that_cannot_be_written_is_refused_before_any_image_is_read(inferencer, noise, tmp_path):
    (tmp_path / 'file').write_text('in the way')
    with pytest.raises(OSError, match=r"cannot write into out_dir='.*file': "):
        inferencer.stream((pytest.fail('read') for _ in range(1)), WORDS, out_dir=tmp_path / 'file')
    (tmp_path / 'out' / 'legend.json').mkdir(parents=True)
    with pytest.raises(OSError, match=r"cannot write into out_dir='.*out': "):
        inferencer.stream(noise(), WORDS, out_dir=str(tmp_path / 'out'))


def test_more_classes_than_16_bits_hold_are_refused(tmp_path):
    names = list(map(str, range(2 ** 16)))
    with pytest.raises(ValueError, match='65536 classes do not fit into label maps of 16 bits'):
        ResultFolder(tmp_path, Request(names, Vocabulary(names), Decoder()), [[0, 0, 0]] * len(names))


@pytest.fixture
def results(tmp_path):
    def build():
        return ResultFolder(tmp_path, Request(['cat'], Vocabulary(['cat']), Decoder()), [[1, 2, 3]])
    return build


def test_a_second_run_is_refused_while_the_first_one_writes(results, tmp_path):
    with results() as first:
        first.add('a', 'a.jpg', np.zeros((3, 5), np.uint8), dict(cat=1.0), np.zeros((3, 5, 3), np.uint8))
        with pytest.raises(OSError, match=rf"out_dir='{tmp_path}': .* is in use: another run is writing into it"):
            results()
    assert [image['name'] for image in legend(tmp_path)['images']] == ['a']
    results()


def test_a_stream_that_is_given_up_leaves_the_folder_free(inferencer, noise, tmp_path):
    found = inferencer.stream([noise(61, 83), noise(37, 29)], WORDS, out_dir=tmp_path)
    next(found)
    with pytest.raises(OSError, match='is in use'):
        inferencer.stream([noise(61, 83)], WORDS, out_dir=tmp_path)
    found.close()
    assert len(legend(tmp_path)['images']) == 1
    inferencer(noise(61, 83), WORDS, out_dir=tmp_path)


def test_an_error_at_the_end_does_not_hide_the_first(results, tmp_path):
    with pytest.raises(ValueError, match='the first'), results() as folder:
        folder.folder = tmp_path / 'removed'
        raise ValueError('the first')
    with pytest.raises(OSError, match=r"cannot write into out_dir='.*removed'"), results() as folder:
        folder.folder = tmp_path / 'removed'
