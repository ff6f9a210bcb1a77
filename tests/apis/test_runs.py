import threading

import numpy as np
import pytest

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
