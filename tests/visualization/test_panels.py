import numpy as np
import pytest
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from ovseg.visualization import panels
from ovseg.visualization.palette import distinct_colours


def test_grey_is_the_pale_lightness_of_each_pixel(random_image):
    image = random_image(5, 7)
    grey = panels.grey(image)
    assert grey.dtype == np.uint8
    for y, x in np.ndindex(5, 7):
        red, green, blue = map(int, image[y, x])
        assert grey[y, x].tolist() == [round(100 + 0.6 * (0.299 * red + 0.587 * green + 0.114 * blue))] * 3


@pytest.mark.parametrize(('shape', 'thinned'), [((1024, 7), (1024, 7)), ((1025, 7), (513, 4)), ((11, 3001), (4, 1001))])
def test_thin_keeps_every_nth_row_and_column(shape, thinned):
    pixels = np.arange(np.prod(shape)).reshape(shape)
    result = panels.thin(pixels)
    step = pixels[0, 0] if result.shape == shape else result[0, 1] - result[0, 0]
    assert result.shape == thinned
    if result.shape != shape:
        assert np.array_equal(result, [[pixels[y, x] for x in range(0, shape[1], step)] for y in range(0, shape[0], step)])


@pytest.mark.parametrize(('values', 'low', 'high', 'colours'), [
    ([-3, 1, 2], -3, 3, 'RdBu_r'), ([-1, 4, 0], -4, 4, 'RdBu_r'), ([2, 1, 5], 1, 5, 'viridis'), ([0, 1, 3], 0, 3, 'viridis'),
    ([-2, -1, -5], -5, -1, 'viridis'), ([0, 0, 0], 0, 0, 'viridis')])
def test_a_scale_holds_all_values_and_is_centred_where_signs_differ(values, low, high, colours):
    norm, name = panels.scale_of(np.array(values[:1]), np.array(values[1:]))
    assert (norm.vmin, norm.vmax, name) == (low, high, colours)


def test_a_map_lies_exactly_over_its_image(random_image):
    axis = Figure().subplots()
    values = np.random.default_rng(0).random((3, 5))
    image = panels.paint_map(axis, random_image(21, 55), values, Normalize(0, 1), 'viridis')
    below, above = axis.images
    assert above is image and below.get_extent() == above.get_extent()
    assert np.array_equal(above.get_array(), values) and 0 < above.get_alpha() < 1
    assert np.array_equal(below.get_array(), panels.grey(random_image(21, 55)))


@pytest.mark.parametrize('patch', [(0, 0), (2, 4), (1, 3)])
def test_the_mark_of_a_patch_is_around_its_pixels(random_image, patch):
    axis = Figure().subplots()
    axis.imshow(random_image(21, 55))
    panels.mark_patch(axis, random_image(21, 55), (3, 5), patch, number=7)
    assert len(axis.patches) == 2
    for outline in axis.patches:  # pixel i lies from i - 0.5 to i + 0.5
        assert outline.get_xy() == (11 * patch[1] - 0.5, 7 * patch[0] - 0.5)
        assert (outline.get_width(), outline.get_height()) == (11, 7)
    number, = axis.texts
    assert number.get_text() == '7'
    assert number.xy[0] == (11 * 5 - 0.5 - 11 if patch[1] == 4 else 11 * (patch[1] + 1) - 0.5)  # never outside the image


@pytest.mark.parametrize('shape', [(29, 31), (11, 61), (61, 11)])
@pytest.mark.parametrize('titles', [['a'], ['panel'] * 7, ['a title of many words, more than fit into a line'] * 5,
                                    ['long ' * 50, 'x' * 300]])
def test_titles_fit(random_image, check_layout, shape, titles):
    figure, axes = panels.new_figure(random_image(*shape), titles, min(len(titles), 4), 'What stands above all of the panels')
    assert len(axes) == len(titles)
    for axis in axes:
        axis.imshow(random_image(*shape))
    check_layout(figure)


def test_unused_panels_are_empty(random_image):
    figure, _ = panels.new_figure(random_image(7, 7), ['a'] * 5, 3, '')
    assert [axis.axison for axis in figure.axes] == [True] * 5 + [False]


@pytest.mark.parametrize('count', [1, 5, 23])
@pytest.mark.parametrize('text', ['x', 'a class whose name is long enough for a line', 'w' * 99])
def test_the_legend_fits(random_image, check_layout, count, text):
    figure, (axis,) = panels.new_figure(random_image(7, 7), ['a'], 1, 'title')
    axis.imshow(random_image(7, 7))
    panels.legend(figure, [panels.patch_of((1, 2, 3), f'{number} {text}') for number in range(count)])
    check_layout(figure)


def test_every_label_has_its_colour_largest_first(random_image):
    labels, more = np.array([[7, 7, 7, 2, 2, -1]]), np.array([[4, 4, 4, 4, 7, 2]])
    colours = panels.LabelColours(labels, more)
    handles = colours.handles({7: 'seven', 4: 'four', 2: 'two'}, 'others')
    assert sorted(handle.get_label() for handle in handles[:2]) == ['four', 'seven'] and handles[2].get_label() == 'two'
    found = [[round(255 * channel) for channel in handle.get_facecolor()[:3]] for handle in handles]
    assert found == distinct_colours(3)
    image = random_image(1, 6)
    painted = colours.paint(image, labels)
    by_label = dict(zip(colours.largest, found))
    for x in range(6):
        grey = panels.grey(image)[0, x]
        colour = by_label.get(labels[0, x])
        expected = grey if colour is None else (1 - panels.OPACITY) * grey + panels.OPACITY * np.array(colour)
        assert np.abs(painted[0, x] - expected).max() <= 1


def test_labels_beyond_the_largest_share_a_colour_and_an_entry():
    labels = np.concatenate([np.full(50 - label, label) for label in range(panels.MOST + 3)])
    colours = panels.LabelColours(labels)
    handles = colours.handles({label: str(label) for label in range(panels.MOST)}, 'others')
    assert [handle.get_label() for handle in handles] == [*map(str, range(panels.MOST)), '3 others']
    assert len({tuple(colour) for colour in colours.palette[:panels.MOST]}) == panels.MOST
    assert (colours.palette[panels.MOST:] == panels.OTHERS).all()


def test_no_labels_at_all(random_image):
    colours = panels.LabelColours(np.full((2, 3), -1))
    assert colours.handles({}, 'others') == []
    assert np.array_equal(colours.paint(random_image(2, 3), np.full((2, 3), -1)), panels.grey(random_image(2, 3)))
