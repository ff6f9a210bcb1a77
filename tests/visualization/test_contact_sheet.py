import matplotlib.image
import numpy as np
import pytest

from ovseg.visualization import contact_sheet, method_sheet
from ovseg.visualization.contact_sheet import overlay

PALETTE = [[255, 0, 0], [0, 255, 0], [10, 20, 250]]
CLASSES = ['red panda', 'grass', 'sea']


def random_images(count):
    rng = np.random.default_rng(0)
    sizes = [(int(rng.integers(7, 29)), int(rng.integers(7, 29))) for _ in range(count)]
    return [rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes]


def loop_overlay(image, labels, opacity):
    painted = np.empty_like(image)
    for y, x in np.ndindex(*labels.shape):
        for channel in range(3):
            value = float(image[y, x, channel])
            if 0 <= labels[y, x] < len(PALETTE):
                value = (1 - opacity) * value + opacity * PALETTE[labels[y, x]][channel]
            painted[y, x, channel] = round(value)
    return painted


@pytest.mark.parametrize('opacity', [0.0, 0.37, 0.65, 1.0])
@pytest.mark.parametrize('dtype', [np.uint8, np.int64])
def test_overlay_equals_the_loop(opacity, dtype):
    rng = np.random.default_rng(0)
    image, labels = rng.integers(0, 256, (11, 13, 3), np.uint8), rng.integers(0, 3, (11, 13)).astype(dtype)
    painted = overlay(image, labels, PALETTE, opacity)
    assert painted.dtype == np.uint8
    assert np.abs(painted.astype(int) - loop_overlay(image, labels, opacity)).max() <= 1  # rounding


@pytest.mark.parametrize('outside', [3, 255, -1])
def test_labels_outside_the_palette_stay_clear(outside):
    image = np.full((2, 2, 3), 99, np.uint8)
    painted = overlay(image, np.array([[0, outside], [outside, 1]]), PALETTE, 1.0)
    np.testing.assert_array_equal(painted, [[[255, 0, 0], [99, 99, 99]], [[99, 99, 99], [0, 255, 0]]])


def test_overlay_leaves_image_and_labels_alone():
    image, labels = np.full((2, 3, 3), 7, np.uint8), np.full((2, 3), 255)
    overlay(image, labels, PALETTE)
    assert (image == 7).all() and (labels == 255).all()


@pytest.mark.parametrize(('count', 'pairs_per_row', 'rows', 'cols'), [(5, 2, 3, 6), (1, 2, 1, 6), (3, 1, 3, 3), (4, 3, 2, 9)])
def test_one_image_per_image_and_map_in_strips(count, pairs_per_row, rows, cols):
    images = random_images(count)
    maps = [np.zeros(image.shape[:2], int) for image in images]
    figure = contact_sheet(images, {'ground truth': maps, 'ours': maps}, CLASSES, PALETTE, pairs_per_row)
    assert len(figure.axes) == rows * cols
    shown = [axis.images[0].get_array() if axis.images else None for axis in figure.axes]
    for index, image in enumerate(images):
        row, strip = divmod(index, pairs_per_row)
        strip_of_image = shown[row * cols + strip * 3:row * cols + strip * 3 + 3]
        np.testing.assert_array_equal(strip_of_image[0], image)
        np.testing.assert_array_equal(strip_of_image[1], overlay(image, maps[index], PALETTE))
    assert sum(panel is not None for panel in shown) == 3 * count


def test_titles_stand_over_the_first_row_only():
    images = random_images(3)
    maps = [np.zeros(image.shape[:2], int) for image in images]
    figure = contact_sheet(images, {'ground truth': maps}, CLASSES, PALETTE, 1)
    assert [axis.get_title() for axis in figure.axes] == ['image', 'ground truth', '', '', '', '']


def legend_of(label_maps):
    figure = contact_sheet([np.zeros((*label_maps[0].shape, 3), np.uint8)] * len(label_maps), {'ground truth': label_maps},
                           CLASSES, PALETTE)
    legend, = figure.legends
    return {text.get_text(): tuple(round(255 * value) for value in patch.get_facecolor()[:3])
            for text, patch in zip(legend.get_texts(), legend.get_patches())}


def test_the_legend_lists_the_classes_that_occur_with_their_colours():
    assert legend_of([np.array([[0, 0]]), np.array([[2, 255]])]) == {'red panda': (255, 0, 0), 'sea': (10, 20, 250)}


def test_negative_labels_are_not_in_the_legend():
    assert legend_of([np.array([[0, -1]])]) == {'red panda': (255, 0, 0)}


def test_it_is_written_without_a_display(tmp_path, monkeypatch):
    monkeypatch.delenv('DISPLAY', raising=False)
    images = random_images(2)
    maps = [np.ones(image.shape[:2], int) for image in images]
    contact_sheet(images, {'ground truth': maps}, CLASSES, PALETTE).savefig(tmp_path / 'sheet.png')
    written = matplotlib.image.imread(tmp_path / 'sheet.png')
    assert min(written.shape[:2]) > 100 and written.std() > 0.05


def test_a_row_for_each_set_of_maps_below_the_images():
    images = random_images(3)
    maps = {title: [np.full(image.shape[:2], label) for image in images]
            for label, title in enumerate(('ground truth', 'ours'))}
    figure = method_sheet(images, maps, CLASSES, PALETTE)
    assert [axis.get_ylabel() for axis in figure.axes] == ['image', '', '', 'ground truth', '', '', 'ours', '', '']
    expected = [*images, *(overlay(image, map_, PALETTE) for found in maps.values() for image, map_ in zip(images, found))]
    for axis, panel in zip(figure.axes, expected):
        np.testing.assert_array_equal(axis.images[0].get_array(), panel)
    legend, = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == CLASSES[:2]
