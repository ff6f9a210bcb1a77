import numpy as np
import pytest
from matplotlib import font_manager

from ovseg.visualization import legend
from ovseg.visualization.contact_sheet import overlay
from ovseg.visualization.legend import painted_with_legend

PALETTE = [[255, 0, 0], [0, 255, 0], [10, 20, 250]]


def draw(height, width, texts, labels=None):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    labels = rng.integers(0, 3, (height, width), np.uint8)
    painted = painted_with_legend(image, labels, PALETTE, [(text, PALETTE[index % 3]) for index, text in enumerate(texts)])
    return overlay(image, labels, PALETTE), painted


@pytest.mark.parametrize('rows_at_once', [1, 7, 1000])
def test_the_image_is_the_overlay(monkeypatch, rows_at_once):
    monkeypatch.setattr(legend, 'PIXELS_AT_ONCE', rows_at_once * 211 + 3)
    expected, painted = draw(31, 211, ['red panda'])
    np.testing.assert_array_equal(painted[:31], expected)
    assert painted.dtype == np.uint8 and painted.shape[1] == 211


def test_every_entry_has_its_swatch_and_its_text():
    _, painted = draw(31, 307, ['red panda', 'grass', 'sea'])
    under = painted[31:]
    for colour in PALETTE:
        assert (under == colour).all(-1).sum() == 11 * 11  # 13 x 13 with its border
    without = draw(31, 307, ['red panda', 'grass', ''])[1][31:]
    assert (without != under[:, :without.shape[1]]).any()
    assert (under[[0, -1]] == 255).all() and (under[:, [0, -1]] == 255).all()  # nothing is cut off


def test_entries_that_do_not_fit_into_a_line_take_another():
    heights = [draw(31, 211, ['red panda 23%'] * count)[1].shape[0] for count in (1, 2, 3, 4, 19)]
    assert heights == sorted(heights) and heights[0] < heights[-1]
    under = draw(31, 211, ['red panda 23%'] * 19)[1][31:]
    swatches = sum((under == colour).all(-1).sum() for colour in PALETTE)
    assert swatches == 19 * 11 * 11
    assert (under[:, -1] == 255).all() and (under[-1] == 255).all()


def test_a_narrow_image_is_widened_with_white():
    expected, painted = draw(31, 5, ['red panda'])
    np.testing.assert_array_equal(painted[:31, :5], expected)
    assert painted.shape[1] > 60 and (painted[:31, 5:] == 255).all() and (painted[31:, -1] == 255).all()


def test_a_legend_without_entries_is_blank():
    expected, painted = draw(31, 211, [])
    np.testing.assert_array_equal(painted[:31], expected)
    assert painted.shape[0] > 31 and (painted[31:] == 255).all()


def test_letters_grow_with_the_image():
    small, large = (draw(side, side, ['red panda'])[1].shape[0] - side for side in (300, 1500))
    assert large > 2 * small


@pytest.mark.parametrize('height, width', [(7, 20_011), (20_011, 7)])
def test_the_legend_of_a_thin_image_is_small(height, width):
    painted = draw(height, width, ['red panda', 'grass'])[1]
    assert painted.shape[0] - height < 60 and painted.shape[1] - width < 200


def test_a_font_is_taken_that_has_the_letters(monkeypatch):
    monkeypatch.setattr(legend, 'FONTS', ('DejaVu Sans Display', 'cmex10', 'DejaVu Sans', 'STIXGeneral'))
    legend._font_files.cache_clear()
    try:
        assert 'DejaVuSans.ttf' in legend._font('Straße', 13).path
        assert 'DejaVuSansDisplay' in legend._font('', 13).path
        assert 'DejaVuSansDisplay' in legend._font('猫', 13).path  # none of them has it: the first, with its box
    finally:
        legend._font_files.cache_clear()


def test_the_font_of_matplotlib_is_always_there():
    assert legend._font_files()[0] == font_manager.findfont('DejaVu Sans')
