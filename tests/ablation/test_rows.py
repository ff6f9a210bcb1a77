import numpy as np
import pytest
import torch

from ovseg.ablation.rows import RowWriter, read_about, read_areas, read_changed, row_file
from ovseg.evaluation.areas import class_areas

NAMES = ('x/1.jpg', 'y/1.jpg', 'z ü.jpg')
STAMPS = {name: dict(image=[3, 5 + index], mask=[7, 11 + index]) for index, name in enumerate(NAMES)}
ABOUT = dict(classes=['a', 'b', 'c', 'd', 'e'], words=dict(class_list='letters'))


def labels(seed):
    """Prediction and ground_truth; class 4 is nowhere, 255 is ignored, 9 is no class."""
    generator = torch.Generator().manual_seed(seed)
    predicted, ground_truth = (torch.randint(0, 4, (11, 13), generator=generator) for _ in range(2))
    ground_truth[0], ground_truth[1, 3:] = 255, 9
    return predicted, ground_truth.to(torch.uint8)


def areas(seed):
    return class_areas(*labels(seed), 5, 255)


@pytest.fixture
def written(tmp_path):
    writer = RowWriter(tmp_path, 'f00d', STAMPS)
    writer.keep([])
    for seed, name in enumerate(NAMES):
        writer.add(name, areas(seed))
    return tmp_path


def test_areas_are_read_as_they_were_written(written):
    RowWriter(written, 'f00d', STAMPS).finish(['z ü.jpg', 'x/1.jpg', 'y/1.jpg'], ABOUT)
    path = row_file(written, 'f00d')
    found = read_areas(path)
    assert found.images == ['z ü.jpg', 'x/1.jpg', 'y/1.jpg'] and read_about(path) == ABOUT
    for index, seed in enumerate((2, 0, 1)):
        for array, expected in zip((found.intersect, found.predicted, found.ground_truth), areas(seed)):
            np.testing.assert_array_equal(array[index], expected)
    assert found.ground_truth.dtype == np.int32 and (found.union[:, 4] == 0).all()


def test_changed_area_is_the_share_of_all_pixels(tmp_path):
    writer = RowWriter(tmp_path, 'f00d', STAMPS)
    writer.keep([])
    for index, name in enumerate(NAMES):
        writer.add(name, areas(index), {'beef': 11 * index, 'pixels': 100 + index})
    writer.finish(list(NAMES), ABOUT)
    assert read_changed(row_file(tmp_path, 'f00d'), 'beef') == 33 / 303
    assert np.isnan(read_changed(row_file(tmp_path, 'f00d'), 'cafe'))


def test_only_a_finished_row_has_its_name(written):
    assert [path.name for path in (written / 'rows').iterdir()] == ['f00d.part.jsonl']
    RowWriter(written, 'f00d', STAMPS).finish(['x/1.jpg'], ABOUT)
    assert [path.name for path in (written / 'rows').iterdir()] == ['f00d.jsonl']


@pytest.mark.parametrize('cut', [2, 5, 60])
def test_a_line_that_was_cut_off_is_left_out(cut, written):
    part = written / 'rows' / 'f00d.part.jsonl'
    part.write_bytes(part.read_bytes()[:-cut])
    writer = RowWriter(written, 'f00d', STAMPS)
    assert list(writer.lines) == ['x/1.jpg', 'y/1.jpg']
    writer.keep(['x/1.jpg', 'y/1.jpg'])
    writer.add('z ü.jpg', areas(2))
    assert list(RowWriter(written, 'f00d', STAMPS).lines) == ['x/1.jpg', 'y/1.jpg', 'z ü.jpg']


def test_images_that_are_not_kept_are_forgotten(written):
    RowWriter(written, 'f00d', STAMPS).keep(['y/1.jpg'])
    assert list(RowWriter(written, 'f00d', STAMPS).lines) == ['y/1.jpg']


@pytest.fixture
def finished(written):
    RowWriter(written, 'f00d', STAMPS).finish(list(STAMPS), ABOUT)
    return row_file(written, 'f00d')


def reopened(folder, stamps):
    """The images whose lines are still usable; None where the row stays finished."""
    RowWriter(folder, 'f00d', stamps).reopen()
    return None if row_file(folder, 'f00d').is_file() else list(RowWriter(folder, 'f00d', stamps).lines)


def test_a_row_of_the_same_files_stays_finished(finished, written):
    before = finished.read_bytes()
    assert reopened(written, STAMPS) is None and finished.read_bytes() == before


@pytest.mark.parametrize('kind', ['image', 'mask'])
def test_a_row_of_changed_files_is_reopened(kind, finished, written):
    changed = {**STAMPS, 'y/1.jpg': {**STAMPS['y/1.jpg'], kind: [3, 99]}}
    assert reopened(written, changed) == ['x/1.jpg', 'z ü.jpg']


def test_a_row_of_a_data_set_with_another_image_is_reopened(finished, written):
    assert reopened(written, {**STAMPS, 'new.jpg': dict(image=[1, 1], mask=[1, 1])}) == list(STAMPS)


@pytest.mark.parametrize('order', [['z ü.jpg', 'y/1.jpg', 'x/1.jpg'], ['x/1.jpg', 'z ü.jpg']])
def test_a_row_of_other_images_is_reopened(order, finished, written):
    assert set(reopened(written, {name: STAMPS[name] for name in order})) == set(order)


def test_a_flipped_bit_in_a_row_is_noticed(finished, written):
    content = finished.read_bytes()
    for byte in range(len(content)):
        finished.write_bytes(content[:byte] + bytes([content[byte] ^ 1 << byte % 8]) + content[byte + 1:])
        with pytest.raises(ValueError, match=r'f00d\.jsonl is damaged'):
            read_areas(finished)
    assert len(reopened(written, STAMPS)) == 2  # the last byte was that of the last line
