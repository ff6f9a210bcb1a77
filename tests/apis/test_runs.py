import json
import re
import tarfile
import threading

import numpy as np
import pytest
from PIL import Image

from ovseg.apis import image_sources
from ovseg.apis.progress import ProgressLine
from ovseg.apis.reading import Reading
from ovseg.corpus.sources import Shard, shard_images

WORDS = ['zebra', 'ladybug; beetle', 'snow']


def test_areas_are_sorted_and_sum_to_one(inferencer, scene):
    areas, = inferencer(scene(0))['areas']
    assert sum(areas.values()) == pytest.approx(1) and len(areas) > 1
    assert list(areas.values()) == sorted(areas.values(), reverse=True) and 0 not in areas.values()


def test_images_are_read_one_by_one(inferencer, noise):
    taken = []

    def generate():
        for seed in range(1000):
            taken.append(seed)
            yield noise(37, 29, seed=seed % 3)
    found = inferencer.stream(generate(), WORDS, batch_size=2)
    assert taken == []
    assert [next(found).name for _ in range(3)] == ['000000', '000001', '000002']
    assert taken == [0, 1, 2, 3]
    found.close()


def test_streams_of_different_names_do_not_disturb_each_other(inferencer, noise):
    images = [noise(37, 29, seed=seed) for seed in range(2)]
    other = ['sky', 'sand', 'brick', 'wood']
    expected = [inferencer(images, words)['predictions'] for words in (WORDS, other)]
    pairs = list(zip(inferencer.stream(images, WORDS), inferencer.stream(images, other)))
    for index, streams in enumerate(pairs):
        for segmentation, wanted in zip(streams, expected):
            np.testing.assert_array_equal(segmentation.labels, wanted[index])


def test_threads_do_not_disturb_each_other(inferencer, noise):
    image, found = noise(37, 29), {}
    vocabularies = [WORDS, ['sky', 'sand'], ['brick', 'wood', 'gravel', 'tartan']]
    expected = [inferencer(image, words)['predictions'][0] for words in vocabularies]

    def work(number):
        found[number] = [inferencer(image, vocabularies[(number + turn) % 3])['predictions'][0] for turn in range(4)]
    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(3):
        for turn, labels in enumerate(found[number]):
            np.testing.assert_array_equal(labels, expected[(number + turn) % 3])


@pytest.mark.parametrize('classes, dtype', [(255, np.uint8), (256, np.uint16)])
def test_255_stays_free_in_8_bits(inferencer, noise, classes, dtype):
    words = [f'word {index}' for index in range(classes)]
    assert inferencer(noise(29, 31), words)['predictions'][0].dtype == dtype


def test_an_item_of_an_iterable_that_is_no_image_leaves_the_others(inferencer, noise, tmp_path):
    for number in range(3):
        Image.fromarray(noise(37, 29, seed=number)).save(tmp_path / f's{number}.png')
    (tmp_path / 'empty').mkdir()
    items = ['s0.png', 'missing.png', 's1.png', '', 'empty', 'http://[::1/a.jpg', 'file://elsewhere/a.jpg', 's2.png']
    items = [item if ':' in item else item and tmp_path / item for item in items]
    errors = {}
    found = list(inferencer.stream(iter(items), ['zebra', 'snow'], batch_size=2, on_error=errors.setdefault,
                                   out_dir=tmp_path / 'out'))
    assert [item.name for item in found] == ['s0', 's1', 's2']
    assert list(errors) == [str(items[index]) for index in (1, 3, 4, 5, 6)]
    assert str(errors[str(items[1])]) == f'there is no image or folder {items[1]}'
    results = json.loads((tmp_path / 'out' / 'results.json').read_text(encoding='utf-8'))
    assert [entry['source'] for entry in results['failed']] == list(errors) and len(results['images']) == 3
    with pytest.raises(FileNotFoundError, match=r'there is no image or folder .*missing\.png'):
        list(inferencer.stream(iter(items), ['zebra', 'snow']))


def test_what_was_read_before_an_error_of_the_iterable_is_segmented(inferencer, noise):
    def images():
        yield noise(37, 29)
        yield noise(31, 41)
        raise ZeroDivisionError

    for items, error in [(iter([noise(37, 29), noise(31, 41), 5]), TypeError), (images(), ZeroDivisionError)]:
        found = []
        with pytest.raises(error):
            for item in inferencer.stream(items, ['zebra', 'snow'], batch_size=3, on_error=lambda *_: None):
                found.append(item.labels.shape)
        assert found == [(37, 29), (31, 41)]


def test_an_array_of_another_type_is_an_error_of_its_image(inferencer, noise):
    errors = []
    images = [noise(37, 29), noise(31, 41).astype(np.float64), noise(29, 43)]
    found = inferencer.stream(images, ['zebra', 'snow'], batch_size=2, on_error=lambda _, error: errors.append(error))
    assert [item.labels.shape for item in found] == [(37, 29), (29, 43)]
    assert [str(error) for error in errors] == ['an image as an array must be uint8 (0 to 255), not float64']
    with pytest.raises(TypeError, match='must be uint8'):
        list(inferencer.stream(images, ['zebra', 'snow']))


def test_options_of_tiff_files_are_not_ignored_for_other_sources(inferencer, noise, tmp_path, monkeypatch):
    pytest.importorskip('rasterio')
    pixels, names = noise(61, 83), ['plain.tif', 'photo.png', 'photo.jpg']
    for name in names:
        Image.fromarray(pixels).save(tmp_path / name)
    url, (member,) = 'http://host/a.tif', _members(tmp_path / 'plain.tif')
    monkeypatch.setattr(image_sources, 'download', lambda url: (tmp_path / 'plain.tif').read_bytes())
    others = [tmp_path / 'photo.png', str(tmp_path / 'photo.jpg'), url, pixels, Image.fromarray(pixels)]
    for given, options in (('bands=(3, 2, 1)', dict(bands=[3, 2, 1])), ('nodata=0', dict(nodata=0)),
                           ('bands=(1,) and nodata=7', dict(bands=[1], nodata=7))):
        errors = {}
        found = list(inferencer.stream([tmp_path / 'plain.tif', *others], ['zebra', 'snow'], on_error=errors.setdefault,
                                       **options))
        assert [item.name for item in found] == ['plain'] and len(errors) == len(others)
        assert all(f'{given} can be used with such files only' in str(error) and source in str(error)
                   for source, error in errors.items())
        with pytest.raises(ValueError, match=rf'a\.tif is not a TIFF file of this machine, .* {re.escape(given)} can'):
            inferencer(url, ['zebra', 'snow'], **options)
        reading = Reading(**{key: tuple(value) if key == 'bands' else value for key, value in options.items()})
        call = inferencer.call(['zebra', 'snow'], None, None, 1, False, reading, 0, None)
        with pytest.raises(ValueError, match=rf'shard\.tar/plain\.tif is not a TIFF file of .* {re.escape(given)} can'):
            list(inferencer.run(call, None, False, None, ProgressLine(None, False)).segment(iter([member])))


def _members(path):
    """The images of a shard that holds the file."""
    with tarfile.open(path.parent / 'shard.tar', 'w') as tar:
        tar.add(path, path.name)
    return shard_images(Shard(path.parent / 'shard.tar', ()))


def test_a_file_url_of_a_tiff_is_read_as_its_path(inferencer, noise, tmp_path):
    pytest.importorskip('rasterio')
    Image.fromarray(noise(61, 83)).save(tmp_path / 'a.tif')
    labels = [inferencer(source, ['zebra', 'snow', 'grass'], bands=bands)['predictions'][0]
              for source, bands in (((tmp_path / 'a.tif').as_uri(), [3, 2, 1]), (tmp_path / 'a.tif', [3, 2, 1]),
                                    (noise(61, 83), None))]
    np.testing.assert_array_equal(labels[0], labels[1])
    np.testing.assert_array_equal(labels[0], labels[2])  # arrays are BGR
