import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ovseg.inference.windows import AxisWindows, WindowLayout, Windows, map_windows, window_starts
from ovseg.progress import reported_to


def loop_starts(size, crop, stride):
    """The loop of the field, along one axis."""
    starts = []
    for index in range(max(size - crop + stride - 1, 0) // stride + 1):
        end = min(index * stride + crop, size)
        starts.append(max(end - crop, 0))
    return starts


def loop_windows(image, crop, stride, patch, pad_mode):
    """Every window with its zeros, copied pixel block by pixel block."""
    _, height, width = image.shape
    windows = []
    for top in loop_starts(height, crop, stride) if crop else [0]:
        for left in loop_starts(width, crop, stride) if crop else [0]:
            window = image[:, top:top + crop, left:left + crop] if crop else image
            if pad_mode == 'center':
                h, w = window.shape[1:]
                padded_h, padded_w = (-(-side // p) * p for side, p in zip((h, w), patch))
                padded = torch.zeros(len(image), padded_h, padded_w)
                y, x = (padded_h - h) // 2, (padded_w - w) // 2
                padded[:, y:y + h, x:x + w] = window
                window = padded
            windows.append(window)
    return torch.stack(windows)


@st.composite
def crops_and_strides(draw, largest):
    crop = draw(st.integers(1, largest))
    return crop, draw(st.integers(1, crop))


@given(st.integers(1, 400), crops_and_strides(300))
def test_starts_equal_the_loop_of_the_field(size, crop_and_stride):
    crop, stride = crop_and_stride
    assert list(AxisWindows.plan(size, crop, stride, 16, 'center').starts) == loop_starts(size, crop, stride)


@given(st.integers(1, 200), crops_and_strides(200))
def test_starts_ascend_and_leave_no_pixel_without_a_window(size, crop_and_stride):
    crop, stride = crop_and_stride
    crop = min(crop, size)
    starts = window_starts(size, crop, min(stride, crop))
    assert starts[0] == 0 and starts[-1] == size - crop
    assert list(starts) == sorted(set(starts))
    assert {start + pixel for start in starts for pixel in range(crop)} == set(range(size))


@pytest.mark.parametrize(('size', 'crop', 'stride', 'starts'), [
    (448, 224, 112, (0, 112, 224)),
    (449, 224, 112, (0, 112, 224, 225)),
    (224, 224, 112, (0,)),
    (225, 224, 112, (0, 1)),
    (1, 1, 1, (0,)),
    (7, 3, 3, (0, 3, 4)),
])
def test_known_starts(size, crop, stride, starts):
    assert window_starts(size, crop, stride) == starts


@pytest.mark.parametrize(('length', 'patch', 'cells', 'pad'), [
    (32, 16, 2, (0, 0)), (33, 16, 3, (7, 8)), (47, 16, 3, (0, 1)), (1, 16, 1, (7, 8)), (7, 5, 2, (1, 2)), (2, 14, 1, (6, 6))])
def test_center_pads_both_sides_to_whole_patches_and_the_odd_pixel_behind(length, patch, cells, pad):
    axis = AxisWindows.plan(length, 0, 0, patch, 'center')
    assert (axis.length, axis.cells, axis.pad) == (length, cells, pad)


def test_none_drops_the_remainder():
    axis = AxisWindows.plan(101, 47, 23, 16, 'none')
    assert (axis.length, axis.cells, axis.pad) == (47, 2, (0, 0))


@pytest.mark.parametrize('crop', [0, 31, 37, 1000])
def test_a_crop_of_zero_or_beyond_the_image_is_the_whole_image(crop):
    axis = AxisWindows.plan(31, crop, 11, 7, 'center')
    assert (axis.starts, axis.length) == ((0,), 31)


def test_crop_zero_needs_no_stride():
    assert AxisWindows.plan(31, 0, 0, 7, 'center').starts == (0,)


@pytest.mark.parametrize(('settings', 'message'), [
    (dict(pad_mode='reflect'), r"windows\.pad_mode='reflect'.*center, none"),
    (dict(crop=-1), r'windows\.crop=-1 must be an integer >= 0 \(pixels, or 0 for the whole image\)'),
    (dict(crop=7.5), r'windows\.crop=7\.5'), (dict(crop=31, stride=37), r'windows\.stride=37 .*from 1 to 31'),
    (dict(stride=0), r'windows\.stride=0'), (dict(batch_size=0), r'windows\.batch_size=0'),
    (dict(batch_size='all'), r"windows\.batch_size='all' is unknown; known: auto")], ids=str)
def test_unknown_settings_are_refused_with_the_known_ones(settings, message):
    with pytest.raises(ValueError, match=message):
        Windows(**settings)


def test_a_component_plans_windows_with_its_settings():
    layout = Windows(31, 13, 'none').plan((101, 71), (7, 5))
    assert layout == WindowLayout.plan((101, 71), 31, 13, (7, 5), 'none')
    assert Windows(0).plan((101, 71), (7, 5)) == WindowLayout.plan((101, 71), 0, 112, (7, 5), 'center')


@pytest.mark.parametrize('grid_size', [(4, 7), (8, 14), (1, 1), (3, 11)])
def test_other_grids_are_of_the_same_windows(grid_size):
    layout = WindowLayout.plan((101, 71), 31, 13, (7, 5))
    other = layout.on_grid(grid_size)
    assert (other.rows.cells, other.cols.cells) == grid_size
    assert (other.rows.starts, other.cols.starts, other.rows.pad) == (layout.rows.starts, layout.cols.starts, layout.rows.pad)
    assert layout.on_grid((layout.rows.cells, layout.cols.cells)) == layout


def test_without_padding_an_image_under_one_patch_is_refused():
    with pytest.raises(ValueError, match=r"13 pixels.*patch \(16\).*pad_mode='center'"):
        WindowLayout.plan((101, 13), 0, 0, (16, 16), 'none')


@pytest.mark.parametrize('size', [(0, 13), (13, 0)])
def test_an_image_without_pixels_is_refused(size):
    with pytest.raises(ValueError, match='an image side of 0 pixels: the image is empty'):
        WindowLayout.plan(size, 5, 3, (5, 5))


def test_rows_and_columns_have_their_own_size_and_patch():
    layout = WindowLayout.plan((53, 101), 23, 11, (5, 7))
    assert list(layout.rows.starts) == loop_starts(53, 23, 11)
    assert list(layout.cols.starts) == loop_starts(101, 23, 11)
    assert (layout.rows.cells, layout.cols.cells) == (5, 4)
    assert len(layout) == len(loop_starts(53, 23, 11)) * len(loop_starts(101, 23, 11))


@settings(deadline=None)
@given(st.tuples(st.integers(7, 61), st.integers(7, 61)), st.one_of(st.just((0, 0)), crops_and_strides(47)),
       st.sampled_from(['center', 'none']))
def test_cut_equals_slicing_and_padding_by_hand(size, crop_and_stride, pad_mode):
    crop, stride = crop_and_stride
    patch = (5, 7)
    if pad_mode == 'none':
        crop = 0 if crop < 7 else crop
    if crop:
        stride = max(stride, crop // 5)
    image = torch.rand(3, *size)
    layout = WindowLayout.plan(size, crop, stride, patch, pad_mode)
    windows = layout.cut(image)
    assert torch.equal(windows, loop_windows(image, crop, stride, patch, pad_mode))
    assert len(windows) == len(layout)


@pytest.mark.parametrize(('height', 'width', 'count'), [(1, 1, 1), (40, 3000, 26), (3000, 40, 26)])
def test_tiny_and_long_images(height, width, count):
    image = torch.rand(3, height, width)
    layout = WindowLayout.plan((height, width), 224, 112, (16, 16))
    windows = layout.cut(image)
    assert torch.equal(windows, loop_windows(image, 224, 112, (16, 16), 'center'))
    assert len(windows) == count


def test_cut_of_a_non_contiguous_image():
    channels_last = torch.rand(43, 59, 3).permute(2, 0, 1)
    mirrored_step = torch.rand(3, 43, 118)[..., ::2]
    layout = WindowLayout.plan((43, 59), 17, 11, (5, 5))
    for image in (channels_last, mirrored_step):
        assert not image.is_contiguous()
        assert torch.equal(layout.cut(image), loop_windows(image, 17, 11, (5, 5), 'center'))


def test_cut_leaves_the_image_alone():
    image = torch.rand(3, 19, 29)
    before = image.clone()
    WindowLayout.plan((19, 29), 0, 0, (5, 7)).cut(image).zero_()
    assert torch.equal(image, before)


@pytest.mark.parametrize('pad_mode', ['center', 'none'])
def test_the_mosaic_puts_every_cell_at_its_place_in_the_image(pad_mode):
    layout = WindowLayout.plan((23, 41), 13, 7, (5, 3), pad_mode)
    cells = torch.rand(len(layout), layout.rows.cells * layout.cols.cells, 2)
    mosaic = layout.mosaic(cells)

    def places(axis, starts, patch):
        """Centre in the image, window and cell, of every cell along one axis, in the order of the centres."""
        cells = -(-13 // patch) if pad_mode == 'center' else 13 // patch
        scale, before = (patch, (cells * patch - 13) // 2) if pad_mode == 'center' else (13 / cells, 0)
        return sorted((start - before + (cell + 0.5) * scale, window, cell)
                      for window, start in enumerate(starts) for cell in range(cells))

    rows, cols = places(layout.rows, loop_starts(23, 13, 7), 5), places(layout.cols, loop_starts(41, 13, 7), 3)
    assert mosaic.shape == (len(rows), len(cols), 2)
    for r, (_, row, y) in enumerate(rows):
        for c, (_, col, x) in enumerate(cols):
            window = row * len(layout.cols.starts) + col
            assert torch.equal(mosaic[r, c], cells[window, y * layout.cols.cells + x])


@given(st.lists(st.tuples(st.integers(1, 5), st.sampled_from([(5, 7), (7, 5), (5, 5)])), min_size=1, max_size=5),
       st.integers(1, 11))
@settings(deadline=None)
def test_map_windows_equals_one_window_at_a_time(images, batch_size):
    windows = [torch.rand(count, 3, *size) for count, size in images]
    sizes_seen = []

    def summed(batch):
        sizes_seen.append(len(batch))
        return torch.stack([batch.sum((1, 2, 3)), batch[:, 1, 2, 3]], dim=1), batch[:, 2, :, 1]

    results = map_windows(summed, windows, batch_size)
    assert [[len(tensor) for tensor in result] for result in results] == [[count, count] for count, _ in images]
    for image_windows, result in zip(windows, results):
        for window, row, column in zip(image_windows, *result):
            torch.testing.assert_close(row, torch.stack([window.sum(), window[1, 2, 3]]))
            assert torch.equal(column, window[2, :, 1])
    assert max(sizes_seen) <= batch_size


def test_map_windows_shares_batches_between_images_of_one_size():
    calls = []

    def record(batch):
        calls.append(len(batch))
        return [batch.mean((1, 2, 3))]

    map_windows(record, [torch.rand(3, 3, 5, 7), torch.rand(2, 3, 7, 5), torch.rand(4, 3, 5, 7)], 5)
    assert calls == [5, 2, 2]


def test_map_windows_reports_each_batch():
    seen = []
    with reported_to(lambda *what: seen.append(what)):
        map_windows(lambda batch: [batch], [torch.rand(3, 3, 5, 7), torch.rand(2, 3, 7, 5), torch.rand(4, 3, 5, 7)], 5)
    assert seen == [('windows', done, 9) for done in (0, 5, 7, 9)]
