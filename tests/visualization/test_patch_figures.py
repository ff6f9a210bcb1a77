import numpy as np
import pytest
import torch
from matplotlib.colors import LogNorm

from ovseg.visualization import panels
from ovseg.visualization.patch_figures import (
    attention_figure,
    cls_similarity_figure,
    cluster_figure,
    outlier_figure,
    similarity_figure,
)

GRID, SIZE = (3, 5), (21, 55)  # patches of 7 x 11 pixels
PATCHES = [(0, 0), (2, 3)]
SHAPES = [(3, 5), (7, 2), (2, 13)]


@pytest.fixture
def values():
    """Factory of random maps."""
    return lambda *shape, low=0.0: np.random.default_rng(1).uniform(low, 1, shape)


def maps_of(figure):
    """The axes on which a map is painted over the grey image."""
    return [axis for axis in figure.axes if len(axis.images) == 2]


def marked(axis):
    """Row and column of the patches that are marked."""
    corners = {outline.get_xy() for outline in axis.patches}
    return [(round((y + 0.5) / 7), round((x + 0.5) / 11)) for x, y in corners]


def legend_of(figure):
    legend, = figure.legends
    return {text.get_text(): tuple(round(255 * value) for value in patch.get_facecolor()[:3])
            for text, patch in zip(legend.get_texts(), legend.get_patches())}


def test_attention_has_a_row_for_each_patch_and_a_column_for_each_variant(random_image, values):
    attention = {'one': values(2, *GRID), 'two': values(2, *GRID) / 10, 'three': values(2, *GRID) / 100}
    figure = attention_figure(random_image(*SIZE), attention, PATCHES)
    rows = [figure.axes[:4], figure.axes[4:8]]
    for index, (row, patch) in enumerate(zip(rows, PATCHES)):
        assert [axis.get_title().split(':')[0] for axis in row] == [f'patch {index + 1}', 'one', 'two', 'three']
        assert np.array_equal(row[0].images[0].get_array(), random_image(*SIZE))
        assert all(marked(axis) == [patch] for axis in row)
        for axis, maps in zip(row[1:], attention.values()):
            image = axis.images[1]
            assert np.array_equal(image.get_array(), maps[index])
            assert (image.norm.vmin, image.norm.vmax) == (0, maps[index].max())
            assert float(axis.get_title().split('max ')[1][:-1]) == pytest.approx(100 * maps[index].max(), rel=0.005)
    assert [text.get_text() for text in figure.axes[-1].get_yticklabels()] == ['0', 'max']


def test_similarity_is_on_one_scale(random_image, values):
    maps = values(2, *GRID, low=-0.4)
    maps[0] += 0.5  # positive by itself
    figure = similarity_figure(random_image(*SIZE), maps, PATCHES)
    assert np.array_equal(figure.axes[0].images[0].get_array(), random_image(*SIZE))
    assert sorted(marked(figure.axes[0])) == PATCHES
    assert [text.get_text() for text in figure.axes[0].texts] == ['1', '2']
    for axis, expected, patch in zip(maps_of(figure), maps, PATCHES):
        image = axis.images[1]
        assert np.array_equal(image.get_array(), expected) and marked(axis) == [patch]
        assert image.norm.vmax == -image.norm.vmin == np.abs(maps).max() and image.get_cmap().name == 'RdBu_r'


def test_outliers_are_crossed_out(random_image, values):
    replaced = np.zeros(GRID, bool)
    replaced[0, 4] = replaced[2, 1] = True
    scores = values(*GRID)
    scores[1, 1] = 0  # a logarithmic scale has no place for it
    figure = outlier_figure(random_image(*SIZE), scores, replaced, label='the score')
    axis, = maps_of(figure)
    image = axis.images[1]
    assert np.array_equal(image.get_array(), scores) and isinstance(image.norm, LogNorm)
    assert (image.norm.vmin, image.norm.vmax) == (np.sort(scores.ravel())[1], scores.max()) and image.norm(scores[1, 1]) == 0
    for crosses in axis.lines:  # in the middle of 7 x 11 pixels
        assert crosses.get_xydata().tolist() == [[4 * 11 + 5, 3], [1 * 11 + 5, 2 * 7 + 3]]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ['replaced: 2 of 15 patches']
    assert figure.axes[-1].get_ylabel() == 'the score'


@pytest.mark.parametrize('scores', [np.zeros(GRID), np.full(GRID, 0.3)], ids=['zero', 'equal'])
def test_outlier_scores_may_be_equal(random_image, scores, check_layout):
    check_layout(outlier_figure(random_image(*SIZE), scores, np.zeros(GRID, bool)))


def test_each_patch_has_the_colour_of_its_cluster(random_image):
    labels = np.array([[1, 1, 1, 0, -1], [1, 1, 1, 0, 0], [1, 2, 2, -1, -1]])
    figure = cluster_figure(random_image(*SIZE), labels)
    legend = legend_of(figure)
    assert list(legend) == ['cluster 1: 7 patches', 'cluster 2: 3 patches', 'cluster 3: 2 patches', 'noise: 3 patches']
    colours = dict(zip((1, 0, 2), legend.values()))
    painted, grey = figure.axes[1].images[0].get_array(), panels.grey(random_image(*SIZE)).astype(float)
    for y, x in np.ndindex(*SIZE):
        colour = colours.get(labels[y // 7, x // 11])
        expected = grey[y, x] if colour is None else grey[y, x] + panels.OPACITY * (np.array(colour) - grey[y, x])
        assert np.abs(painted[y, x] - expected).max() <= 1


@pytest.mark.parametrize(('labels', 'texts'), [
    (np.zeros(GRID, int), ['cluster 1: 15 patches']), (np.full(GRID, -1), ['noise: 15 patches'])], ids=['no noise', 'noise'])
def test_the_legend_lists_what_there_is(random_image, labels, texts):
    assert list(legend_of(cluster_figure(random_image(*SIZE), labels))) == texts


def test_cls_similarity_before_and_after_is_on_one_scale(random_image, values):
    before, after = values(*GRID, low=0.2), -0.5 * values(*GRID, low=0.2)
    figure = cls_similarity_figure(random_image(*SIZE), before, after)
    for axis, expected, name in zip(maps_of(figure), (before, after), ('before', 'after')):
        image = axis.images[1]
        assert np.array_equal(image.get_array(), expected)
        assert image.norm.vmax == -image.norm.vmin == before.max() and image.get_cmap().name == 'RdBu_r'
        assert axis.get_title() == f'{name} (mean {expected.mean():.2f})'


def test_tensors_are_as_good_as_arrays(random_image, values):
    scores, replaced = values(*GRID), values(*GRID) > 0.5
    figures = [outlier_figure(random_image(*SIZE), scores, replaced),
               outlier_figure(random_image(*SIZE), torch.from_numpy(scores), torch.from_numpy(replaced))]
    first, second = (maps_of(figure)[0] for figure in figures)
    assert np.array_equal(first.images[1].get_array(), second.images[1].get_array())
    assert np.array_equal(first.lines[0].get_xydata(), second.lines[0].get_xydata())


@pytest.mark.parametrize('grid', SHAPES)
def test_nothing_is_cut_off(random_image, values, check_layout, grid):
    window = random_image(grid[0] * 16, grid[1] * 16)
    names = ['Vanilla', 'MaskCLIP', 'Gated', 'as configured']
    check_layout(attention_figure(window, {name: values(2, *grid) / 7 for name in names}, [(0, 0), (1, 1)]))
    check_layout(similarity_figure(window, values(5, *grid), [(0, 0)] * 5))
    check_layout(outlier_figure(window, 1e4 * values(*grid), values(*grid) > 0.5, title='off in this config'))
    check_layout(cls_similarity_figure(window, values(*grid), values(*grid)))
    check_layout(cluster_figure(window, np.arange(grid[0] * grid[1]).reshape(grid) - 1))


def test_figures_leave_the_settings_of_matplotlib_alone(random_image, values):
    import matplotlib
    before = dict(matplotlib.rcParams)
    cls_similarity_figure(random_image(*SIZE), values(*GRID), values(*GRID))
    assert dict(matplotlib.rcParams) == before
