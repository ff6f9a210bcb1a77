import numpy as np
import pytest
import torch

from ovseg.visualization import panels
from ovseg.visualization.class_figures import error_figure, score_figure

NAMES = ['red panda', 'grass', 'sea', 'a class whose name is long enough for a line of its own']


def test_scores_are_on_one_scale(random_image):
    scores = np.random.default_rng(0).uniform(-0.2, 0.7, (3, 11, 13))
    scores[1] -= 1
    figure = score_figure(random_image(11, 13), torch.from_numpy(scores), NAMES[:3])
    assert np.array_equal(figure.axes[0].images[0].get_array(), random_image(11, 13))
    for axis, expected, name in zip(figure.axes[1:4], scores, NAMES):
        image = axis.images[1]
        assert np.array_equal(image.get_array(), expected) and axis.get_title() == name
        assert (image.norm.vmin, image.norm.vmax) == (scores.min(), scores.max())
    assert figure.axes[4].get_ylabel() == 'score'


@pytest.mark.parametrize('kind', [np.uint8, np.int64])
def test_errors_are_counted_and_painted_pixel_by_pixel(random_image, kind):
    rng = np.random.default_rng(0)
    labels, truth = rng.integers(0, 3, (11, 13)).astype(kind), rng.integers(-1, 3, (11, 13))
    figure = error_figure(random_image(11, 13), labels, truth, NAMES)
    image, painted_truth, prediction, errors = (axis.images[0].get_array() for axis in figure.axes)
    legend, = figure.legends
    colours = {text.get_text(): np.array([round(255 * value) for value in patch.get_facecolor()[:3]])
               for text, patch in zip(legend.get_texts(), legend.get_patches())}
    assert set(colours) == {*NAMES[:3], 'errors: wrong', 'errors: not scored'}
    assert np.array_equal(image, random_image(11, 13))
    grey, wrong, scored = panels.grey(random_image(11, 13)), 0, 0
    for y, x in np.ndindex(11, 13):
        for painted, label in ((painted_truth, truth[y, x]), (prediction, labels[y, x])):
            colour = colours[NAMES[label]] if label >= 0 else grey[y, x]
            expected = (1 - panels.OPACITY) * grey[y, x] + panels.OPACITY * colour
            assert np.abs(painted[y, x] - expected).max() <= 1
        if truth[y, x] < 0:
            assert errors[y, x].tolist() == colours['errors: not scored'].tolist() == [255] * 3
            continue
        scored += 1
        wrong += labels[y, x] != truth[y, x]
        assert (errors[y, x] == 0).all() if labels[y, x] != truth[y, x] else (errors[y, x] > 140).all()
        assert errors[y, x].max() < 230
    assert figure._suptitle.get_text() == f'{wrong / scored:.1%} of the scored pixels are wrong'


def test_the_legend_says_nothing_of_what_is_not_there(random_image):
    figure = error_figure(random_image(5, 7), np.zeros((5, 7), int), np.ones((5, 7), int), NAMES)
    legend, = figure.legends
    assert {text.get_text() for text in legend.get_texts()} == {'red panda', 'grass', 'errors: wrong'}


def test_nothing_is_scored(random_image):
    figure = error_figure(random_image(5, 7), np.zeros((5, 7), int), np.full((5, 7), -1), NAMES)
    assert figure._suptitle.get_text() == '0.0% of the scored pixels are wrong'


def test_large_images_are_counted_in_full_and_thinned_for_print(random_image):
    labels = np.zeros((3, 2050), np.uint8)
    truth = labels.astype(int)
    truth[1, 1] = 1  # is left out in print
    figure = error_figure(random_image(3, 2050), labels, truth, NAMES)
    assert [axis.images[0].get_array().shape for axis in figure.axes] == [(1, 684, 3)] * 4
    assert figure._suptitle.get_text() == f'{1 / labels.size:.1%} of the scored pixels are wrong'
    assert {text.get_text() for text in figure.legends[0].get_texts()} == {'red panda', 'grass', 'errors: wrong'}


@pytest.mark.parametrize('shape', [(29, 31), (11, 61), (61, 11)])
def test_nothing_is_cut_off(random_image, check_layout, shape):
    labels = np.random.default_rng(0).integers(0, 27, shape)
    check_layout(error_figure(random_image(*shape), labels, labels.T.reshape(shape) - 1, NAMES * 7))
    check_layout(score_figure(random_image(*shape), np.random.default_rng(0).random((6, *shape)), [*NAMES, 'five', 'six']))
