from types import SimpleNamespace

import numpy as np
import pytest
from mmseg.datasets.transforms import LoadAnnotations
from PIL import Image

from ovseg.data_check import label_files
from ovseg.data_check.label_files import MANY, LabelFile, Labels, check_label_files, read_label_files
from ovseg.datasets import LoadWideAnnotations
from ovseg.datasets.benchmarks import Benchmark

BENCHMARK = Benchmark(0, 'get it', ('python convert.py',), (('narrow ones', 5), ('wide ones', 13), ('wider ones', 17)))
ELEVEN = Labels([f'class {index}' for index in range(11)], 255, 0)
REDUCED = ELEVEN._replace(offset=1)


def pair(folder, name='a', reduce_zero_label=False):
    return dict(img_path=str(folder / f'{name}.jpg'), seg_map_path=str(folder / f'{name}.png'), label_map=None,
                reduce_zero_label=reduce_zero_label)


def write(folder, labels, name='a', size=None):
    height, width = size or labels.shape[:2]
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    Image.fromarray(picture).save(folder / f'{name}.jpg')
    Image.fromarray(labels).save(folder / f'{name}.png')
    return pair(folder, name)


def ramp(highest, shape=(17, 19), dtype=np.uint8):
    return np.resize(np.arange(highest + 1), shape).astype(dtype)


def file_of(*values, **kwargs):
    return LabelFile('a.png', (3, 5), **{**dict(shape=(3, 5), values=tuple(values)), **kwargs})


def messages(files, labels=ELEVEN, everything=True):
    return [finding.what for finding in check_label_files(files, labels, BENCHMARK, everything)]


def test_a_label_file_is_read_as_the_evaluation_reads_it(tmp_path):
    labels = ramp(6)
    labels[0, 0] = 255
    paths = write(tmp_path, labels)
    [file] = read_label_files([paths], LoadAnnotations())
    assert file == LabelFile(paths['seg_map_path'], (17, 19), (17, 19), (*range(7), 255), False, None)
    [file] = read_label_files([dict(paths, reduce_zero_label=True)], LoadAnnotations())
    assert file.values == (*range(6), 255)


def test_images_are_turned_as_opencv_turns_them(tmp_path):
    paths = write(tmp_path, ramp(6))
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.open(paths['img_path']).save(paths['img_path'], exif=exif)
    assert read_label_files([paths], LoadAnnotations())[0].image_size == (19, 17)


@pytest.mark.parametrize('which', ['img_path', 'seg_map_path'])
@pytest.mark.parametrize('share', [0, 0.01, 0.3, 0.9])
def test_files_that_are_cut_off_are_found(tmp_path, which, share):
    paths = write(tmp_path, np.random.default_rng(0).integers(0, 11, (97, 89)).astype(np.uint8))
    with open(paths[which], 'r+b') as file:
        file.truncate(int(share * file.seek(0, 2)))
    [file] = read_label_files([paths], LoadAnnotations())
    assert file.unreadable[0] == paths[which] and file.values == ()
    [finding] = check_label_files([file], ELEVEN, BENCHMARK, True)
    assert finding.error and finding.files == [paths[which]]
    assert finding.what.startswith('1 of 2 files cannot be read (') and 'Error: ' in finding.what
    assert finding.steps == ('delete them', 'get it', 'python convert.py')


def test_reading_stops_in_time_and_is_spread_over_the_data_set(tmp_path, monkeypatch):
    pairs = [write(tmp_path, ramp(6, (3, 5)), f'{index:02d}') for index in range(40)]
    now = iter(range(1000))
    # not time.monotonic itself, which threads of other tests use
    monkeypatch.setattr(label_files, 'time', SimpleNamespace(monotonic=lambda: next(now)))
    files = read_label_files(pairs, LoadAnnotations(), seconds=11, nproc=1)
    assert len(files) == 10
    numbers = sorted(int(file.path[-6:-4]) for file in files)
    assert numbers[0] < 10 and numbers[-1] >= 30, numbers
    assert len(read_label_files(pairs, LoadAnnotations(), None, 3)) == 40


def test_a_sound_data_set():
    assert messages([file_of(0, 3, 255), file_of(1, 10)]) == []
    assert messages([file_of(*range(11), 255)] * MANY, REDUCED) == []


def test_colour_pictures(tmp_path):
    paths = write(tmp_path, np.stack([ramp(6)] * 3, -1))
    assert messages(read_label_files([paths], LoadAnnotations())) == ['1 of 1 label files are colour images']


def test_another_size(tmp_path):
    paths = write(tmp_path, ramp(6, (17, 19)), size=(19, 17))
    assert messages(read_label_files([paths], LoadAnnotations())) == ['1 of 1 label files have another size than their image']


def test_16_bits_cut_to_8(tmp_path):
    paths = write(tmp_path, ramp(322, dtype=np.uint16))
    many = ELEVEN._replace(classes=[str(index) for index in range(323)], ignore_index=65535)
    [finding] = check_label_files(read_label_files([paths], LoadAnnotations()), many, BENCHMARK, True)
    assert finding.what == '1 of 1 label files have 16 bits, of which the pipeline keeps 8'
    assert 'LoadWideAnnotations' in finding.steps[0]
    assert messages(read_label_files([paths], LoadWideAnnotations()), many) == []
    findings = check_label_files(read_label_files([paths], LoadAnnotations()), ELEVEN, BENCHMARK, True)
    assert findings[0].steps[0] == 'delete them', 'few classes need no 16 bits: the files are wrong, not the transform'


def test_8_bits_where_16_are_expected(tmp_path):
    [message] = messages(read_label_files([write(tmp_path, ramp(6))], LoadWideAnnotations()))
    assert 'is no 16-bit label map' in message


def test_nothing_but_ignored_pixels_in_some_files_is_worth_a_note():
    [finding] = check_label_files([file_of(255), file_of(0, 1)], ELEVEN, BENCHMARK, True)
    assert finding.what == '1 of 2 label files hold nothing but ignored pixels' and not finding.error


@pytest.mark.parametrize('values, held', [((0, 255), 'class 0 and '), ((3,), 'class 3 and ')])
def test_nothing_but_background_in_all_files_is_an_error(values, held):
    [finding] = check_label_files([file_of(*values)] * 3, ELEVEN, BENCHMARK, True)
    assert finding.what == f'all label files hold nothing but {held}ignored pixels' and finding.error


def test_values_that_are_no_class():
    files = [file_of(0, 3), file_of(1, 12, 255), file_of(11, 13), file_of(14)]
    assert messages(files[:2]) == ['1 of 2 label files have values that are no class: 12 to 12; they look like wide ones']
    assert messages(files[:3]) == ['2 of 3 label files have values that are no class: 11 to 13; they look like wide ones']
    assert messages(files) == ['3 of 4 label files have values that are no class: 11 to 14; they look like wider ones']
    assert messages([file_of(0, 99)]) == ['1 of 1 label files have values that are no class: 99 to 99']


def test_kinds_are_compared_in_the_numbers_of_the_files():
    assert messages([file_of(0, 12)], REDUCED)[0].endswith('12 to 12; they look like wide ones')
    assert messages([file_of(0, 13)], REDUCED)[0].endswith('13 to 13; they look like wider ones')


def test_classes_counted_from_1_without_reduce_zero_label():
    [finding] = check_label_files([file_of(0, 4), file_of(2, 11)], ELEVEN, BENCHMARK, True)
    assert finding.what.endswith('11 to 11; they seem to count classes from 1')
    assert finding.steps[0] == 'set reduce_zero_label=True for the data set, or'
    many = ELEVEN._replace(classes=['x'] * 459, ignore_index=65535)
    [finding] = check_label_files([file_of(1, 459)], many, BENCHMARK, True)
    assert finding.steps[0] == 'delete them', '16-bit files are converted, not renumbered'


def test_classes_counted_from_0_with_reduce_zero_label():
    files = [file_of(0, 9, 255)] * MANY
    [finding] = check_label_files(files, REDUCED, Benchmark(0, ''), True)
    assert finding.what == "no label file has the last class ('class 10'); they seem to count classes from 0"
    assert finding.steps[0] == 'set reduce_zero_label=False for the data set, or'
    for few, labels, everything in ((files[:-1], REDUCED, True), (files, REDUCED, False), (files, ELEVEN, True)):
        assert check_label_files(few, labels, Benchmark(0, ''), everything) == [], 'the class may be in none of them'


def test_files_of_a_kind_with_fewer_classes():
    files = [file_of(0, 5, 255)] * MANY
    assert messages(files) == ['no label file has a value above 5; they look like narrow ones']
    assert messages(files[:-1]) == []
    assert messages([*files, file_of(6)]) == []
