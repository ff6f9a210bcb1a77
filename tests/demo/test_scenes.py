import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ovseg
from ovseg.demo.scenes import caption, draw_close_up, draw_scene
from ovseg.demo.textures import CLASSES, STUFF, THINGS

SHIPPED = Path(ovseg.__file__).parent / 'datasets' / 'resources' / 'demo_scenes'
SEEDS = range(23)


def covering_a_percent(labels):
    names = []
    for index, name in enumerate(CLASSES):
        if sum(int(value == index) for value in labels.ravel().tolist()) * 100 >= labels.size:
            names.append(name)
    return tuple(names)


@pytest.mark.parametrize('draw', [draw_scene, draw_close_up])
def test_a_seed_gives_one_scene_and_another_seed_another(draw):
    first, again, other = (draw(np.random.default_rng(seed), 101, 127) for seed in (11, 11, 13))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert first.names == again.names
    assert not np.array_equal(first.image, other.image)


@pytest.mark.parametrize('draw', [draw_scene, draw_close_up])
@pytest.mark.parametrize(('height', 'width'), [(101, 127), (61, 31)])
def test_shapes_types_and_names(draw, height, width):
    for seed in SEEDS:
        scene = draw(np.random.default_rng(seed), height, width)
        assert scene.image.shape == (height, width, 3) and scene.image.dtype == np.uint8
        assert scene.labels.shape == (height, width) and scene.labels.dtype == np.uint8
        assert scene.names == covering_a_percent(scene.labels)


def test_only_what_covers_a_percent_is_named():
    shares = {True: [], False: []}
    for seed in range(150):
        scene = draw_scene(np.random.default_rng(seed), 41, 43)
        for index, name in enumerate(CLASSES):
            share = (scene.labels == index).mean()
            if 0 < share < 0.02:
                shares[name in scene.names].append(share)
    assert max(shares[False]) < 0.01 <= min(shares[True])


def test_a_scene_has_two_or_three_grounds_and_one_to_three_things():
    grounds, things = set(), set()
    for seed in SEEDS:
        present = {CLASSES[index] for index in np.unique(draw_scene(np.random.default_rng(seed), 101, 127).labels)}
        grounds.add(len(present & set(STUFF)))
        things.add(len(present & set(THINGS)))
    assert grounds <= {1, 2, 3} and {2, 3} <= grounds  # a thing may hide a ground
    assert things <= {0, 1, 2, 3} and {1, 2, 3} <= things


def test_a_close_up_is_one_class_and_every_class_comes_up():
    seen = {draw_close_up(np.random.default_rng(seed), 17, 19).names for seed in range(200)}
    assert seen == {(name,) for name in CLASSES}


def test_classes_look_different_within_a_scene():
    scene = draw_scene(np.random.default_rng(0), 101, 127)
    means = [scene.image[scene.labels == index].mean(0) for index in np.unique(scene.labels)]
    assert min(np.abs(a - b).max() for a in means for b in means if a is not b) > 5


@pytest.mark.parametrize('names', [('zebra',), ('grass', 'zebra'), ('grass', 'sky', 'tartan', 'leopard', 'water')])
def test_a_caption_names_every_class_once_inside_a_template(names):
    for seed in SEEDS:
        sentence = caption(np.random.default_rng(seed), names, ['a photo of {}.', 'art: {}!'])
        start, end = ('a photo of ', '.') if sentence.endswith('.') else ('art: ', '!')
        assert sentence.startswith(start) and sentence.endswith(end)
        listing = sentence[len(start):-len(end)]
        assert sorted(listing.replace(' and ', ', ').split(', ')) == sorted(names)


def test_captions_of_scenes_name_all_that_is_seen():
    for seed in SEEDS:
        scene = draw_scene(np.random.default_rng(seed), 61, 67)
        sentence = caption(np.random.default_rng(seed), scene.names, ['{}'])
        assert set(re.findall(r'\w+', sentence)) - {'and'} == set(scene.names)


def test_captions_vary_in_order_and_template():
    sentences = {caption(np.random.default_rng(seed), ('grass', 'zebra'), ['a {}', 'the {}']) for seed in SEEDS}
    assert sentences == {'a grass and zebra', 'a zebra and grass', 'the grass and zebra', 'the zebra and grass'}


@pytest.fixture(scope='module')
def shipped():
    names = [f'{index:03d}' for index in range(60)]
    images = {name: Image.open(SHIPPED / 'images' / f'{name}.jpg') for name in names}
    return {name: (image, np.array(Image.open(SHIPPED / 'annotations' / f'{name}.png'))) for name, image in images.items()}


def test_the_shipped_scenes_are_60_pairs_and_nothing_else():
    expected = {f'images/{index:03d}.jpg' for index in range(60)} | {f'annotations/{index:03d}.png' for index in range(60)}
    assert {path.relative_to(SHIPPED).as_posix() for path in SHIPPED.rglob('*') if path.is_file()} == expected


def test_the_shipped_scenes_are_small_enough_to_ship():
    assert sum(path.stat().st_size for path in SHIPPED.rglob('*') if path.is_file()) <= 6 * 2 ** 20


def test_the_shipped_scenes_have_different_sizes(shipped):
    sizes = {image.size for image, _ in shipped.values()}
    assert all(224 <= height <= 448 and 224 <= width <= 640 for width, height in sizes)
    assert any(width != height for width, height in sizes)
    assert len(sizes) > 10


def test_the_shipped_labels_fit_their_images_and_the_classes(shipped):
    for image, labels in shipped.values():
        assert image.mode == 'RGB'
        assert labels.dtype == np.uint8 and labels.shape == image.size[::-1]
        assert labels.max() < 16


def test_every_class_is_in_several_shipped_scenes(shipped):
    counts = np.zeros(16, int)
    for _, labels in shipped.values():
        counts[np.unique(labels)] += 1
    assert counts.min() >= 3
