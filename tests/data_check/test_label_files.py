from types import SimpleNamespace

import numpy as np
import pytest
from mmseg.datasets.transforms import LoadAnnotations
from PIL import Image

from ovseg.data_check import label_files
from ovseg.data_check.label_files import (
    ANEW,
    COLOUR,
    LOSSY,
    MANY,
    LabelFile,
    Labels,
    check_label_files,
    distinct,
    faults,
    read_label_files,
)
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
    assert file == LabelFile(paths['seg_map_path'], (17, 19), (17, 19), (*range(7), 255), mode='L')
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
    assert finding.steps == [ANEW, 'get it', 'python convert.py']


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
    [message] = messages(read_label_files([paths], LoadAnnotations()))
    assert message == '1 of 1 label files are colour images or have an alpha channel'


def test_another_size(tmp_path):
    paths = write(tmp_path, ramp(6, (17, 19)), size=(19, 17))
    assert messages(read_label_files([paths], LoadAnnotations())) == ['1 of 1 label files have another size than their image']


def test_16_bits_cut_to_8(tmp_path):
    paths = write(tmp_path, ramp(322, dtype=np.uint16))
    many = ELEVEN._replace(classes=[str(index) for index in range(323)], ignore_index=65535)
    [finding] = check_label_files(read_label_files([paths], LoadAnnotations()), many, BENCHMARK, True)
    assert finding.what == '1 of 1 label files have values over 8 bits, of which the pipeline keeps 8'
    assert 'LoadWideAnnotations' in finding.steps[0]
    assert messages(read_label_files([paths], LoadWideAnnotations()), many) == []
    findings = check_label_files(read_label_files([paths], LoadAnnotations()), ELEVEN, BENCHMARK, True)
    assert findings[0].steps[0] == ANEW, 'few classes need no 16 bits: the files are wrong, not the transform'


def test_8_bits_where_16_are_expected(tmp_path):
    [message] = messages(read_label_files([write(tmp_path, ramp(6))], LoadWideAnnotations()))
    assert 'is no 16-bit label map' in message


def test_nothing_but_ignored_pixels_in_some_files_is_worth_a_note():
    [finding] = check_label_files([file_of(255), file_of(0, 1)], ELEVEN, BENCHMARK, True)
    assert finding.what == '1 of 2 label files hold nothing but ignored pixels' and not finding.error


@pytest.mark.parametrize('values, held', [((0,), 'class 0 and '), ((3, 255), 'class 3 and ')])
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
    [finding] = check_label_files([file_of(1, 4), file_of(2, 11)], ELEVEN, BENCHMARK, True)
    assert finding.what.endswith('11 to 11; they seem to count classes from 1')
    assert finding.steps[0] == 'set reduce_zero_label=True for the data set, or'
    many = ELEVEN._replace(classes=['x'] * 459, ignore_index=65535)
    [finding] = check_label_files([file_of(1, 459)], many, BENCHMARK, True)
    assert finding.steps[0] == ANEW, '16-bit files are converted, not renumbered'


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


COMMAND = 'python repair.py CONFIG --out copy'
TWO = Labels(['ground', 'road'], 255, 0)


def repair_of(files, labels=ELEVEN):
    """The finding and the command for files of one's own data set."""
    finding, *_ = check_label_files(files, labels, Benchmark(0, ''), True, COMMAND)
    assert not any('delete' in step for step in finding.steps)
    return finding, finding.steps[-1].removeprefix(f'{COMMAND} ') if finding.steps else ''


def test_a_value_behind_the_classes_that_may_mean_void():
    """CamVid: classes 0 to 10, and 11 for void. Where 0 occurs too, both meanings are possible."""
    finding, options = repair_of([file_of(*range(12)), file_of(0, 3)])
    assert finding.what.endswith('11 to 11; they seem to count classes from 1, or 11 means "not labelled"')
    assert options == '--map 11=255'
    assert finding.steps[0] == 'if 0 means "not labelled" and classes begin at 1: set reduce_zero_label=True for the data set'
    assert finding.steps[1] == 'if 11 means "not labelled", as in CamVid:'


def test_masks_of_0_and_255(tmp_path):
    finding, options = repair_of([file_of(0, 255), file_of(0), file_of(0, 255)], TWO)
    assert finding.what == "all label files hold nothing but 0 and 255, and 255 is not scored: 'ground' would be the only class"
    assert finding.error and finding.files == ['a.png'] * 2 and options == '--map 255=1'
    assert finding.steps[:2] == ['if 255 means "not labelled": add images with other classes',
                                 "if 255 means class 1 ('road'): write a copy in which it is:"]
    assert not repair_of([file_of(0, 255)], Labels(['ground', 'road', 'water'], 255, 0))[0].error


def test_a_single_value_that_is_no_class_is_called_so():
    assert messages([file_of(99, 255)]) == ['1 of 1 label files have values that are no class: 99 to 99']


def test_one_class_alone_is_no_error():
    assert messages([file_of(0, 255)] * 3, Labels(['road'], 255, 0)) == []


@pytest.mark.parametrize(('file', 'options'), [
    (file_of(0, 1, 99, 128), '--map 99=255 128=255'),
    (file_of(0, 1, shape=(5, 3)), '--resize'),
    (file_of(0, 1, shape=(3, 5, 3), mode='RGB', grey=True), '--rgb grey'),
    (file_of(0, 1, shape=(3, 5, 3), mode='RGB'), '--rgb palette'),
    (file_of(0, 1, 44, cut=(300, 65535)), '--map 300=255 65535=255'),
    (file_of(0, 1, 2, lossy=True, mode='L'), '--nearest --map VALUE=ID ...')])
def test_the_command_that_repairs(file, options):
    assert repair_of([file])[1] == options


def test_one_command_repairs_all_that_is_wrong():
    files = [file_of(0, 3, 255, lossy=True), file_of(0, 1, shape=(6, 10))]
    assert repair_of(files, TWO)[1] == '--resize --nearest --map 0=0 255=1'


def test_jpegs_are_known_by_their_content(tmp_path):
    paths = write(tmp_path, ramp(6))
    Image.open(paths['seg_map_path']).save(paths['seg_map_path'], format='JPEG')
    [file] = read_label_files([paths], LoadAnnotations())
    assert file.lossy
    assert [fault.kind for fault in faults(file, ELEVEN)] == [LOSSY]


@pytest.mark.parametrize(('mode', 'kind'), [
    ('P', None), ('1', None), ('L', None), ('LA', COLOUR), ('RGB', COLOUR), ('RGBA', COLOUR), ('I;16', None)])
def test_kinds_of_png(tmp_path, mode, kind):
    """Palette indices, single bits and 16-bit values up to 255 are read as ids, as the evaluation reads them."""
    labels = ramp(1)
    paths = write(tmp_path, labels)
    image = Image.fromarray(labels)
    images = {'P': lambda: Image.frombytes('P', image.size, image.tobytes()), '1': lambda: Image.fromarray(labels > 0),
              'I;16': lambda: Image.fromarray(labels.astype(np.uint16))}
    picture = images.get(mode, lambda: image.convert(mode))()
    if mode == 'P':
        picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.save(paths['seg_map_path'])
    [file] = read_label_files([paths], LoadAnnotations())
    assert [fault.kind for fault in faults(file, ELEVEN)] == ([kind] if kind else [])
    assert kind or file.values == (0, 1)
    assert not kind or f'has pixels of type {mode}, not one integer each' in faults(file, ELEVEN)[0].detail


def test_values_are_named_as_they_stand_in_the_file():
    [fault] = faults(file_of(0, 10, 11, 12, 255), REDUCED)
    assert fault.detail == 'has values that are no class: 12, 13; classes are 1 to 11, and 255 is not scored'


def test_distinct_values():
    rng = np.random.default_rng(0)
    for dtype, low, high in ((np.uint8, 0, 256), (np.int64, -3, 700)):
        labels = rng.integers(low, high, (13, 17)).astype(dtype)
        assert distinct(labels) == tuple(sorted(set(labels.ravel().tolist())))
