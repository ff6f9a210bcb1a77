import hashlib
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import ovseg
from ovseg.apis import image_sources
from ovseg.apis.request import Request
from ovseg.apis.result_folder import Areas, ResultFolder, grey_levels
from ovseg.claims import LOCK
from ovseg.models.decoder import Decoder
from ovseg.visualization.contact_sheet import overlay
from ovseg.visualization.palette import distinct_colours
from ovseg.vocabulary import Vocabulary
from ovseg.vocabulary.word_record import word_record

WORDS = ['zebra', 'ladybug; 瓢虫', 'snow']


def build(folder, names=('cat',), settings=None, **options):
    request = Request(list(names), Vocabulary(list(names)), Decoder())
    return ResultFolder(folder, request, [[1, 2, 3]] * len(names), 'a config', settings or {}, **options)


def read(path):
    return np.array(Image.open(path))


def results_of(folder):
    return json.loads((folder / 'results.json').read_text(encoding='utf-8'))


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file() and path.name != LOCK)


def test_what_is_written_is_what_is_returned(inferencer, noise, tmp_path):
    images = [noise(61, 83), noise(37, 29, seed=1)]
    result = inferencer(images, WORDS, background='sky, sand', out_dir=tmp_path / 'a' / 'b', return_vis=True)
    folder = tmp_path / 'a' / 'b'
    assert files(folder) == ['pred/000000.png', 'pred/000001.png', 'results.json', 'vis/000000.png', 'vis/000001.png']
    colours = [[0, 0, 0], *distinct_colours(3)]
    for name, image, labels, painted in zip(result['names'], images, result['predictions'], result['visualization']):
        np.testing.assert_array_equal(read(folder / 'pred' / f'{name}.png'), labels)
        np.testing.assert_array_equal(read(folder / 'vis' / f'{name}.png'), painted)
        height, width = labels.shape
        np.testing.assert_array_equal(painted[:height, :width], overlay(image[..., ::-1], labels, colours))
    document = results_of(folder)
    assert document['classes'] == [
        dict(id=0, name='background', synonyms=['sky', 'sand'], colour=colours[0]),
        dict(id=1, name='zebra', synonyms=['zebra'], colour=colours[1]),
        dict(id=2, name='ladybug', synonyms=['ladybug', '瓢虫'], colour=colours[2]),
        dict(id=3, name='snow', synonyms=['snow'], colour=colours[3])]
    names = [class_['name'] for class_ in document['classes']]
    for index, (entry, labels) in enumerate(zip(document['images'], result['predictions'])):
        assert entry == dict(
            name=f'{index:06d}', size=list(labels.shape[::-1]),
            source=f'ndarray of {labels.shape[1]} x {labels.shape[0]} pixels',
            files=dict(vis=f'vis/{index:06d}.png', pred=f'pred/{index:06d}.png'),
            areas={name: dict(pixels=int((labels == label).sum()), share=float((labels == label).mean()))
                   for label, name in enumerate(names)})
    assert len(document['images']) == 2 and document['failed'] == [] and document['no_class'] == 255


def test_what_the_results_come_from(inferencer, noise, tmp_path):
    inferencer(noise(37, 29), WORDS, out_dir=tmp_path)
    document = results_of(tmp_path)
    content = json.dumps([['zebra'], ['ladybug', '瓢虫'], ['snow']]).encode()
    assert document['class_list_sha256'] == hashlib.sha256(content).hexdigest()
    words = word_record(inferencer.model.words)
    assert {key: document[key] for key in words} == words and words['class_count'] == 3
    assert document['model'].endswith('gated_tiny-clip_demo.py') and document['ovseg'] == ovseg.__version__
    settings = document['settings']
    assert settings['software']['torch'] == torch.__version__ and len(settings['weights']) == 64
    assert settings['templates'] == ['a photo of {}.'] and settings['reading']['tile'] == 1024


def test_label_maps_have_a_palette(inferencer, noise, tmp_path):
    inferencer(noise(37, 29), WORDS, background='sky', out_dir=tmp_path)
    with Image.open(tmp_path / 'pred' / '000000.png') as labels:
        assert labels.mode == 'P'
        palette = np.array(labels.getpalette()).reshape(-1, 3).tolist()
    assert palette[:4] == [class_['colour'] for class_ in results_of(tmp_path)['classes']]
    assert palette[4:] == [[255, 255, 255]] * 252


def test_a_value_without_a_class_is_kept_beside_few_classes(results, tmp_path):
    labels = np.array([[0, 255, 0], [255, 0, 255]], np.uint8)
    with results() as folder:
        folder.add('a', Path('a.jpg'), labels, Areas(np.array([3]), (2, 3), 3), np.zeros((2, 3, 3), np.uint8))
    np.testing.assert_array_equal(read(tmp_path / 'pred' / 'a.png'), labels)
    entry, = results_of(tmp_path)['images']
    assert entry['undefined_pixels'] == 3 and entry['areas'] == dict(cat=dict(pixels=3, share=0.5))


def test_over_255_classes_take_16_bits(inferencer, scene, tmp_path):
    words = [*(f'word {index}' for index in range(299)), 'grass']
    result = inferencer(read(scene(0))[:97, :101, ::-1], words, out_dir=tmp_path)
    written = cv2.imread(str(tmp_path / 'pred' / '000000.png'), cv2.IMREAD_UNCHANGED)  # older Pillow reads 32 bits
    assert written.dtype == np.uint16 and (written == 299).mean() > 0.5
    np.testing.assert_array_equal(written, result['predictions'][0])
    assert len(results_of(tmp_path)['classes']) == 300


def test_images_of_one_name_do_not_overwrite_each_other(inferencer, noise, tmp_path):
    for folder, seed in (('x', 0), ('y', 1)):
        (tmp_path / folder).mkdir()
        Image.fromarray(noise(37, 29, seed=seed)).save(tmp_path / folder / 'cat.png')
    out = tmp_path / 'out'
    result = inferencer([tmp_path / 'x', tmp_path / 'y'], WORDS, out_dir=out)
    assert result['names'] == ['cat', 'cat_2']
    assert files(out) == ['pred/cat.png', 'pred/cat_2.png', 'results.json', 'vis/cat.png', 'vis/cat_2.png']
    assert [(item['name'], item['source']) for item in results_of(out)['images']] == [
        ('cat', str(tmp_path / 'x' / 'cat.png')), ('cat_2', str(tmp_path / 'y' / 'cat.png'))]


def test_a_later_call_replaces_its_own_and_the_results_tells_of_it_alone(inferencer, noise, tmp_path):
    inferencer([noise(37, 29), noise(31, 41)], WORDS, out_dir=tmp_path)
    result = inferencer(noise(37, 29), ['sky', 'sand'], out_dir=tmp_path)
    np.testing.assert_array_equal(read(tmp_path / 'pred' / '000000.png'), result['predictions'][0])
    assert (tmp_path / 'pred' / '000001.png').is_file()
    assert [item['name'] for item in results_of(tmp_path)['images']] == ['000000']
    assert [item['name'] for item in results_of(tmp_path)['classes']] == ['sky', 'sand']


def test_a_broken_image_leaves_the_results_before_it(inferencer, noise, tmp_path):
    (tmp_path / 'broken.jpg').write_bytes(b'no image')
    with pytest.raises(ValueError, match=r'broken\.jpg is no image'):
        inferencer([noise(37, 29), tmp_path / 'broken.jpg'], WORDS, out_dir=tmp_path / 'out')
    assert files(tmp_path / 'out') == ['pred/000000.png', 'results.json', 'vis/000000.png']
    assert [item['name'] for item in results_of(tmp_path / 'out')['images']] == ['000000']


@pytest.mark.parametrize('resume', [False, True])
def test_a_run_that_fails_at_its_first_image_leaves_the_results_of_another(inferencer, noise, tmp_path, resume):
    inferencer([noise(37, 29), noise(31, 41)], WORDS, out_dir=tmp_path / 'out')
    before = (tmp_path / 'out' / 'results.json').read_bytes()
    (tmp_path / 'broken.jpg').write_bytes(b'no image')
    with pytest.raises(ValueError, match=r'broken\.jpg is no image'):
        inferencer([tmp_path / 'broken.jpg', noise(37, 29)], WORDS if resume else ['sky', 'sand'], out_dir=tmp_path / 'out',
                   resume=resume)
    assert (tmp_path / 'out' / 'results.json').read_bytes() == before


def test_a_run_whose_images_all_fail_leaves_the_results_of_another(inferencer, noise, tmp_path):
    def fail(**options):
        inferencer([tmp_path / 'broken.jpg'], WORDS, out_dir=tmp_path / 'out', formats=['csv'], on_error=lambda *_: None,
                   **options)

    (tmp_path / 'broken.jpg').write_bytes(b'no image')
    fail()
    assert results_of(tmp_path / 'out')['images'] == [] and len(results_of(tmp_path / 'out')['failed']) == 1
    inferencer([noise(37, 29), noise(31, 41)], WORDS, out_dir=tmp_path / 'out', formats=['csv'])
    before = {name: (tmp_path / 'out' / name).read_bytes() for name in files(tmp_path / 'out')}
    fail()
    assert {name: (tmp_path / 'out' / name).read_bytes() for name in files(tmp_path / 'out')} == before
    fail(resume=True)
    assert len(results_of(tmp_path / 'out')['images']) == 2 and len(results_of(tmp_path / 'out')['failed']) == 1


@pytest.mark.parametrize('write', ['write_label_map', 'write_image'])
def test_results_of_another_run_are_not_listed_once_their_files_are_replaced(inferencer, noise, tmp_path, monkeypatch, write):
    inferencer([noise(37, 29), noise(31, 41)], WORDS, out_dir=tmp_path)
    listed = []

    def killed(*args):
        listed.append(results_of(tmp_path)['images'])
        raise KeyboardInterrupt
    monkeypatch.setattr(f'ovseg.apis.result_folder.{write}', killed)
    with pytest.raises(KeyboardInterrupt):
        inferencer(noise(37, 29), ['sky', 'sand'], out_dir=tmp_path)
    assert listed == [[]] and results_of(tmp_path)['images'] == []


def test_a_full_disk_is_said_with_the_folder_and_leaves_what_is_there(inferencer, noise, tmp_path, monkeypatch):
    inferencer(noise(37, 29), WORDS, out_dir=tmp_path)
    before = (tmp_path / 'results.json').read_bytes()
    results = build(tmp_path)
    (tmp_path / 'results.json').write_bytes(before)

    def full(*args, **kwargs):
        args[0].write_bytes(b'half')
        raise OSError(28, 'No space left on device')

    def full_of_bytes(path, content):
        write_bytes(path, content[:3])
        raise OSError(28, 'No space left on device')
    write_bytes = Path.write_bytes
    monkeypatch.setattr(Path, 'write_text', full)
    with pytest.raises(OSError, match=f"cannot write into out_dir='{tmp_path}': .*No space left"):
        results.write_results()
    assert (tmp_path / 'results.json').read_bytes() == before
    monkeypatch.setattr(Path, 'write_bytes', full_of_bytes)
    with pytest.raises(OSError, match=f"cannot write into out_dir='{tmp_path}': "):
        results.add('b', Path('b.jpg'), np.zeros((3, 5), np.uint8), Areas(np.array([15]), (3, 5)), noise(3, 5))
    assert files(tmp_path) == ['pred/000000.png', 'results.json', 'vis/000000.png']


def test_a_file_name_that_is_not_utf_8_stands_in_the_results_of(inferencer, noise, tmp_path):
    image = tmp_path / os.fsdecode(b'caf\xe9.png')
    try:
        Image.fromarray(noise(37, 29)).save(image)
    except (OSError, UnicodeError):
        pytest.skip('this file system takes UTF-8 only')
    inferencer(image, WORDS, out_dir=tmp_path / 'out')
    assert [item['source'] for item in results_of(tmp_path / 'out')['images']] == [str(image)]


def test_a_folder_that_cannot_be_written_is_refused_before_any_image_is_read(inferencer, noise, tmp_path):
    (tmp_path / 'file').write_text('in the way')
    with pytest.raises(OSError, match=r"cannot write into out_dir='.*file': "):
        inferencer.stream((pytest.fail('read') for _ in range(1)), WORDS, out_dir=tmp_path / 'file')
    (tmp_path / 'out' / 'results.json').mkdir(parents=True)
    with pytest.raises(OSError, match=r"cannot write into out_dir='.*out': "):
        inferencer.stream(noise(), WORDS, out_dir=str(tmp_path / 'out'))


def test_more_classes_than_16_bits_hold_are_refused(tmp_path):
    names = list(map(str, range(2 ** 16)))
    with pytest.raises(ValueError, match='65536 classes do not fit into label maps of 16 bits'):
        build(tmp_path, names)


@pytest.fixture
def results(tmp_path):
    return lambda: build(tmp_path)


def test_a_second_run_is_refused_while_the_first_one_writes(results, tmp_path):
    with results() as first:
        first.add('a', Path('a.jpg'), np.zeros((3, 5), np.uint8), Areas(np.array([15]), (3, 5)),
                  np.zeros((3, 5, 3), np.uint8))
        with pytest.raises(OSError, match=rf"out_dir='{tmp_path}': .* is in use: another run is writing into it"):
            results()
    assert [image['name'] for image in results_of(tmp_path)['images']] == ['a']
    results()


def test_a_stream_that_is_given_up_leaves_the_folder_free(inferencer, noise, tmp_path):
    found = inferencer.stream([noise(61, 83), noise(37, 29)], WORDS, out_dir=tmp_path)
    next(found)
    with pytest.raises(OSError, match='is in use'):
        inferencer.stream([noise(61, 83)], WORDS, out_dir=tmp_path)
    found.close()
    assert len(results_of(tmp_path)['images']) == 1
    inferencer(noise(61, 83), WORDS, out_dir=tmp_path)


def test_an_error_at_the_end_does_not_hide_the_first(results, tmp_path):
    with pytest.raises(ValueError, match='the first'), results() as folder:
        folder.folder = tmp_path / 'removed'
        raise ValueError('the first')
    with pytest.raises(OSError, match=r"cannot write into out_dir='.*removed'"), results() as folder:
        folder.folder = tmp_path / 'removed'


@pytest.fixture
def save(tmp_path):
    """Write an image file of its own content, and return its path."""
    def saved(name='cat.png', seed=0, shape=(37, 29, 3)):
        path = tmp_path / name
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8)).save(path)
        return path
    return saved


def test_a_changed_image_is_segmented_again_and_an_unchanged_one_is_not(inferencer, save, tmp_path):
    same, changed = save('same.png'), save('changed.png', 1)
    inferencer([same, changed], WORDS, out_dir=tmp_path / 'out')
    save('changed.png', 2, (41, 31, 3))
    again = inferencer([same, changed], WORDS, out_dir=tmp_path / 'out', resume=True)
    assert again['names'] == ['changed']
    assert {entry['name']: entry['size'] for entry in results_of(tmp_path / 'out')['images']} == dict(
        same=[29, 37], changed=[31, 41])


@pytest.mark.parametrize('folder', ['vis', 'pred'])
def test_an_image_whose_result_was_deleted_is_segmented_again(inferencer, save, tmp_path, folder):
    image = save()
    inferencer(image, WORDS, out_dir=tmp_path / 'out')
    (tmp_path / 'out' / folder / 'cat.png').unlink()
    assert inferencer(image, WORDS, out_dir=tmp_path / 'out', resume=True)['names'] == ['cat']
    assert files(tmp_path / 'out') == ['pred/cat.png', 'results.json', 'vis/cat.png']


@pytest.mark.parametrize('batch_size', [1, 2])
def test_an_image_given_twice_that_has_changed_is_resumed_as_it_was(inferencer, save, tmp_path, batch_size):
    image = save()
    inferencer([image, image], WORDS, out_dir=tmp_path / 'out')
    save(seed=1, shape=(41, 31, 3))
    again = inferencer([image, image], WORDS, out_dir=tmp_path / 'out', resume=True, batch_size=batch_size)
    assert again['names'] == ['cat', 'cat_2']
    assert [entry['size'] for entry in results_of(tmp_path / 'out')['images']] == [[31, 41], [31, 41]]
    assert inferencer([image], WORDS, out_dir=tmp_path / 'out', resume=True)['names'] == []


def test_an_image_that_changes_while_it_is_segmented_is_segmented_again(inferencer, save, tmp_path, monkeypatch):
    image = save()
    predict = inferencer.model.test_step

    def changing(data):
        save(seed=1, shape=(41, 31, 3))
        return predict(data)
    with monkeypatch.context() as patch:
        patch.setattr(type(inferencer.model), 'test_step', lambda self, data: changing(data))
        inferencer(image, WORDS, out_dir=tmp_path / 'out')
    inferencer(image, WORDS, out_dir=tmp_path / 'out', resume=True)
    assert [entry['size'] for entry in results_of(tmp_path / 'out')['images']] == [[31, 41]]


def test_a_url_that_has_results_is_done(inferencer, save, tmp_path, monkeypatch):
    content = {'http://host/cat.png': save().read_bytes(), 'http://host/broken.png': b'no image'}
    monkeypatch.setattr(image_sources, 'download', content.__getitem__)
    url, broken = content
    for again in (False, True):
        found = inferencer([url, url, broken], WORDS, out_dir=tmp_path / 'out', resume=again, on_error=lambda *_: None)
        assert found['names'] == ([] if again else ['cat', 'cat_2'])
        results = results_of(tmp_path / 'out')
        assert [entry['source'] for entry in results['images']] == [url, url]
        assert [entry['source'] for entry in results['failed']] == [broken]


def test_a_file_behind_a_file_url_that_has_changed_is_segmented_again(inferencer, save, tmp_path):
    url = save().as_uri()
    inferencer(url, WORDS, out_dir=tmp_path / 'out')
    assert inferencer(url, WORDS, out_dir=tmp_path / 'out', resume=True)['names'] == []
    save(shape=(31, 41, 3))
    assert inferencer(url, WORDS, out_dir=tmp_path / 'out', resume=True)['names'] == ['cat']
    assert [entry['size'] for entry in results_of(tmp_path / 'out')['images']] == [[41, 31]]


def test_a_tiff_as_one_image_and_tiff_files_in_tiles_are_not_mixed(build, save, tmp_path):
    image = save('cat.tif')
    build(max_pixels=5 * 37 * 29)(image, WORDS, out_dir=tmp_path / 'out')
    with pytest.raises(ValueError, match=r'holds results of other settings, .* \(different: max_pixels\)'):
        build(max_pixels=37 * 29 - 1).stream(image, WORDS, out_dir=tmp_path / 'out', resume=True)


def test_an_empty_name_of_a_folder_is_refused(inferencer, save, tmp_path, monkeypatch):
    image = save()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"^out_dir='' is empty"):
        inferencer(image, WORDS, out_dir='')
    assert files(tmp_path) == ['cat.png']


@pytest.mark.parametrize('content', ['{', '[]', '{"settings": {}}', '{"settings": {}, "images": [{}]}'])
def test_damaged_results_are_not_resumed(tmp_path, content):
    (tmp_path / 'results.json').write_text(content)
    with pytest.raises(ValueError, match=r'results\.json is damaged .*choose another folder'):
        build(tmp_path, resume=True)
    assert (tmp_path / 'results.json').read_text() == content


def test_a_new_image_of_a_name_that_is_there_gets_another(inferencer, save, tmp_path):
    first = save()
    inferencer(first, WORDS, out_dir=tmp_path / 'out')
    (tmp_path / 'other').mkdir()
    second = save('other/CAT.png', 1)
    again = inferencer([first, second], WORDS, out_dir=tmp_path / 'out', resume=True)
    assert again['names'] == ['CAT_2']
    assert [entry['source'] for entry in results_of(tmp_path / 'out')['images']] == [str(first), str(second)]


def test_the_results_are_written_from_time_to_time(results, tmp_path, monkeypatch):
    def add(folder, name):
        folder.add(name, Path('a.jpg'), np.zeros((3, 5), np.uint8), Areas(np.array([15]), (3, 5)),
                   np.zeros((3, 5, 3), np.uint8))
    with results() as folder:
        add(folder, 'a')
        assert results_of(tmp_path)['images'] == []
        monkeypatch.setattr('ovseg.apis.result_folder.SECONDS', -1)
        monkeypatch.setattr('ovseg.apis.result_folder.SHARE', 1e9)  # the first writing took a while
        add(folder, 'a')
        assert results_of(tmp_path)['images'] == []
        monkeypatch.setattr('ovseg.apis.result_folder.SHARE', 0)
        add(folder, 'b')
        assert [entry['name'] for entry in results_of(tmp_path)['images']] == ['a', 'b']


@pytest.mark.parametrize(('bits', 'largest'), [(8, 255), (16, 65535)])
def test_confidence_is_written_as_grey_images(inferencer, noise, tmp_path, bits, largest):
    image = noise(61, 83)
    plain, = inferencer.stream(image, ['zebra', 'ladybug', 'snow'], show_progress=False)
    arrays, = inferencer.stream(image, ['zebra', 'ladybug', 'snow'], confidence=True, out_dir=tmp_path / 'arrays')
    reject = float(np.median(arrays.confidence[0]))
    found, = inferencer.stream(image, ['zebra', 'ladybug', 'snow'], confidence=bits, reject=reject, out_dir=tmp_path / 'files')
    assert plain.confidence is None and plain.rejected == 0
    assert found.confidence.shape == (2, 61, 83) and found.confidence.dtype == np.float32
    assert not (tmp_path / 'arrays' / 'confidence').exists()
    np.testing.assert_array_equal(found.confidence, arrays.confidence)
    entry, = results_of(tmp_path / 'files')['images']
    for kind, values in zip(('confidence', 'margin'), found.confidence):
        assert entry['files'][kind] == f'{kind}/000000.png'
        with Image.open(tmp_path / 'files' / entry['files'][kind]) as written:
            assert written.mode in {8: ('L',), 16: ('I;16', 'I')}[bits]  # Pillow 9 reads 16 bits as I
            for y in range(61):
                for x in range(83):
                    assert written.getpixel((x, y)) == int(float(values[y, x]) * largest + 0.5)
    np.testing.assert_array_equal(found.labels, np.where(found.confidence[0] < np.float32(reject), 255, plain.labels))
    assert entry['rejected_pixels'] == found.rejected == (found.labels == 255).sum() > 0
    assert found.undefined == 0 and 'undefined_pixels' not in entry


def test_an_image_that_a_format_leaves_out_is_an_error_of_the_folder(tmp_path):
    heard = []
    with build(tmp_path, formats=['coco'], max_pixels=14) as folder:
        folder.add('a', Path('a.jpg'), np.zeros((3, 5), np.uint8), Areas(np.array([15]), (3, 5)), np.zeros((3, 5, 3), np.uint8))
        folder.export(lambda *heard_of: heard.append(heard_of))
        with pytest.raises(ValueError, match=r'^--format coco: .*left out'):
            folder.export(None)
    (place, error), = heard
    assert place == str(tmp_path) and 'left out' in str(error)


def test_images_are_brought_into_an_order(results, tmp_path):
    with results() as folder:
        for name in 'badec':
            folder.add(name, Path('a.jpg'), np.zeros((3, 5), np.uint8), Areas(np.array([15]), (3, 5)),
                       np.zeros((3, 5, 3), np.uint8))
        folder.sort(['c', 'missing', 'd', 'e'])
    assert [image['name'] for image in results_of(tmp_path)['images']] == ['b', 'a', 'c', 'd', 'e']


def test_levels_of_what_is_no_number_are_0():
    assert grey_levels(np.array([[np.nan, 1, 0, 0.5]], np.float32), 8).tolist() == [[0, 255, 0, 128]]


def test_confidence_of_a_raster_is_refused_before_the_first_image(inferencer, noise, tmp_path):
    Image.fromarray(noise(61, 83)).save(tmp_path / 'a.png')
    Image.fromarray(noise(61, 83)).save(tmp_path / 'geo.tif', tiffinfo={33550: (1.0, 1.0, 0.0)})
    with pytest.raises(ValueError, match=r"geo\.tif is read in tiles.* leave the file or confidence \(--confidence\) out"):
        inferencer.stream([tmp_path / 'a.png', tmp_path / 'geo.tif'], WORDS, confidence=8, out_dir=tmp_path / 'out')
    assert not (tmp_path / 'out').exists()
