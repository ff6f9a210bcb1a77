"""The converter of the table's data sets, on archives in miniature."""
import os
import signal
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from PIL import Image

import ovseg.sets
from ovseg.claims import LOCK
from ovseg.data_check import set_conversion
from ovseg.data_check.check import check_dataset
from ovseg.data_check.conversion import MARKER, UNFINISHED
from ovseg.data_check.data_files import check_data_files
from ovseg.data_check.set_conversion import OPTIONS, convert_set, cut_patch, patch_windows
from ovseg.sets import ROWS, Conversion
from ovseg.vocabulary import read_class_list

UAVID = {(0, 0, 0): 0, (128, 0, 0): 1, (128, 64, 128): 2, (0, 128, 0): 4, (128, 128, 0): 5, (64, 0, 128): 3, (192, 0, 192): 3,
         (64, 64, 0): 6}
SIZE = (53, 71)


def save(pixels, path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path, **options)


def blocks(seed, values, size=SIZE):
    """A mask of blocks with the given values or colours."""
    values = np.asarray(values)
    rng = np.random.default_rng(seed)
    rows = values[rng.integers(0, len(values), (size[0] // 9 + 1, size[1] // 9 + 1))]
    return rows.repeat(9, 0).repeat(9, 1)[:size[0], :size[1]].astype(np.uint8)


def image(seed, size=SIZE):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3))


def white(seed, size=SIZE):
    return blocks(seed, [0, 255], size)


# The files of each archive: ``(image, mask, mask's pixels, name of the results)``.
ARCHIVES = {
    'openearthmap': [(f'{city}/images/{city}_{number}.tif', f'{city}/labels/{city}_{number}.tif', blocks(number, range(9)),
                      f'{city}_{number}') for city, number in (('aachen', 1), ('coxsbazar', 17))],
    'whu_aerial': [(f'val/image/{name}.png', f'val/label/{name}.png', white(1), name) for name in ('2_11', '2_12')],
    'whu_sat_ii': [(f'test/image/{name}.tif', f'test/label/{name}.tif', white(2), name) for name in ('0', '1')],
    'xbd': [(f'images/{name}_pre_disaster.png', f'targets/{name}_pre_disaster_target.png', blocks(5, range(5)),
             f'{name}_pre_disaster') for name in ('guatemala-volcano_00000003', 'joplin-tornado_00000007')],
    'chn6_cug': [(f'images/{name}_sat.jpg', f'gt/{name}_mask.png', white(3), name) for name in ('am100001', 'cd2')],
    'deepglobe_road': [(f'img/{name}_sat.jpg', f'gt/{name}_mask.png', np.stack([white(4)] * 3, -1), name)
                       for name in ('104', '996')],
    'massachusetts_road': [('img/10378780_15.jpg', 'gt/10378780_15.png', white(6), '10378780_15')],
    'spacenet_road': [('img/img1.jpg', 'gt/img1.png', white(7), 'img1')],
    'wbs_si': [(f'Images/{name}.jpg', f'Masks/{name}.jpg', white(8), name)
               for name in ('water_body_2396', 'water_body_7')],
}
LISTS = dict(openearthmap='aachen_1.tif\ncoxsbazar_17.tif\nof_xbd_3.tif\n', wbs_si='water_body_2396\nwater_body_7\n')
DECOYS = dict(openearthmap=[('aachen/images/aachen_2.tif', 'aachen/labels/aachen_2.tif')],
              xbd=[('images/x_post_disaster.png', 'targets/x_post_disaster_target.png')],
              wbs_si=[('Images/water_body_9.jpg', 'Masks/water_body_9.jpg')])


def write_archive(name, folder):
    for seed, (picture, mask, pixels, _) in enumerate(ARCHIVES[name]):
        save(image(seed), folder / picture)
        save(pixels, folder / mask, **(dict(quality=90) if mask.endswith('.jpg') else {}))
    for picture, mask in DECOYS.get(name, ()):
        save(image(99), folder / picture)
        save(np.full(SIZE, 200), folder / mask)
    if name in LISTS:
        (folder / ROWS[name].conversion.only_in).write_text(LISTS[name])
    return folder


def files(folder):
    """Content of all files below a folder, by path, without the converter's own."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob('*'))
            if path.is_file() and path.name not in (LOCK, MARKER, OPTIONS)}


def read(path):
    return np.array(Image.open(path))


@pytest.mark.parametrize('in_place', [False, True])
@pytest.mark.parametrize('name', ARCHIVES)
def test_labels_are_those_of_the_masks_and_images_are_linked(name, in_place, tmp_path):
    row, archive = ROWS[name], write_archive(name, tmp_path / 'archive')
    before, out = files(archive), archive if in_place else tmp_path / 'out'
    names = [result for *_, result in ARCHIVES[name]]
    assert convert_set(row, archive, out, 2) == (len(names), len(names))
    after = files(out)
    for picture, mask, _, result in ARCHIVES[name]:
        labels = read(out / row.seg_map_path / f'{result}{row.seg_map_suffix}')
        grey = read(archive / mask)
        grey = grey[..., 0] if grey.ndim == 3 else grey
        if name == 'openearthmap':
            expected = [[int(value) for value in line] for line in grey]
        elif name == 'xbd':
            expected = [[int(value > 0) for value in line] for line in grey]
        else:
            expected = [[int(value >= 128) for value in line] for line in grey]
        assert labels.tolist() == expected and len(np.unique(labels)) > 1 and labels.dtype == np.uint8
        assert (out / row.img_path / f'{result}{row.img_suffix}').read_bytes() == before[picture]
    assert {path: content for path, content in files(archive).items() if path in before} == before
    written = {path for path in after if path.startswith(row.seg_map_path)}
    assert written == {f'{row.seg_map_path}/{result}{row.seg_map_suffix}' for result in names}
    if row.ann_file:
        assert (out / row.ann_file).read_text().split() == names
    assert convert_set(row, archive, out, 1) == (0, len(names)) and files(out) == after


def test_targets_of_xbd_are_read_in_both_forms(tmp_path):
    """Those of the archive, and those that utils/convert2png.py of michal2409/xView2 makes of its JSON files."""
    row, archive = ROWS['xbd'], write_archive('xbd', tmp_path)
    convert_set(row, archive, tmp_path / 'first', 1)
    for mask in list((archive / 'targets').iterdir()):
        mask.rename(mask.with_name(mask.name.replace('_target', '')))
    convert_set(row, archive, tmp_path / 'second', 1)
    assert files(tmp_path / 'first') == files(tmp_path / 'second')
    next((archive / 'targets').glob('joplin*_pre_*')).unlink()
    with pytest.raises(FileNotFoundError, match=r'1 of 2 masks of xBD pre .*/joplin\S+_pre_disaster_target\.png'):
        convert_set(row, archive, tmp_path / 'third', 1)


def uavid(folder, size=(113, 260)):
    for sequence in ('seq21', 'seq22'):
        for index in (0, 100):
            save(image(index, size), folder / sequence / 'Images' / f'{index:06d}.png')
            save(blocks(index, list(UAVID), size), folder / sequence / 'Labels' / f'{index:06d}.png')
    return folder


@pytest.fixture
def small(monkeypatch):
    """UAVid with patches of 61 x 83 pixels."""
    row = replace(ROWS['uavid'], conversion=replace(ROWS['uavid'].conversion, patch=(61, 83)))
    monkeypatch.setitem(ovseg.sets.ROWS, 'uavid', row)
    return row


def test_patches_and_colours(small, tmp_path):
    archive, out = uavid(tmp_path / 'archive'), tmp_path / 'out'
    assert convert_set(small, archive, out, 2) == (4, 4)
    found = sorted(path.name for path in (out / 'ann_dir/test').glob('*.png'))
    assert found == sorted(path.name for path in (out / 'img_dir/test').glob('*.png'))
    assert len(found) == 4 * 2 * 4 and 'seq22_000100_52_113_177_260.png' in found and 'seq21_000000_0_61_0_83.png' in found
    for name in found:
        sequence, index, top, bottom, left, right = name[:-4].split('_')
        colours = read(archive / sequence / 'Labels' / f'{index}.png')
        expected = [[UAVID[tuple(colours[y, x].tolist())] for x in range(int(left), int(right))]
                    for y in range(int(top), int(bottom))]
        assert read(out / 'ann_dir/test' / name).tolist() == expected
        pixels = read(archive / sequence / 'Images' / f'{index}.png')[int(top):int(bottom), int(left):int(right)]
        np.testing.assert_array_equal(read(out / 'img_dir/test' / name), pixels)


def test_numbers_of_patches_are_those_of_the_protocols():
    assert len(patch_windows((5000, 5000), (1000, 1000), 0, False)) == 25  # Inria
    assert len(patch_windows((2160, 3840), (1080, 1280), 0, False)) == 6  # UAVid
    assert patch_windows((7, 10), (3, 4), 1, False) == [
        (top, left, top + 3, left + 4) for top in (0, 2, 4) for left in (0, 3, 6)]
    assert patch_windows((7, 10), (3, 4), 0, True)[-1] == (6, 8, 9, 12)
    assert patch_windows((2, 10), (3, 4), 0, False) == [(0, left, 3, left + 4) for left in (0, 4, 6)]


def test_what_is_outside_of_the_image_is_filled():
    assert cut_patch(np.arange(6, dtype=np.uint8).reshape(2, 3), (1, 2, 3, 4), 255).tolist() == [[5, 255], [255, 255]]
    assert cut_patch(np.ones((2, 2, 3), np.uint8), (0, 1, 1, 3), 0).tolist() == [[[1, 1, 1], [0, 0, 0]]]


def test_inria_takes_the_images_of_its_split(tmp_path):
    conversion = ROWS['inria'].conversion
    assert len(conversion.only) == len(set(conversion.only)) == 27
    row = replace(ROWS['inria'], conversion=replace(conversion, only=('austin1', 'vienna3'), patch=(40, 40)))
    for name in ('austin1', 'austin2'):
        save(image(0), tmp_path / 'images' / f'{name}.tif')
        save(white(1), tmp_path / 'gt' / f'{name}.tif')
    with pytest.raises(FileNotFoundError, match=r"1 of 2 images of the evaluation set of Inria .*first is 'vienna3'"):
        convert_set(row, tmp_path, tmp_path, 1)
    save(image(0), tmp_path / 'images' / 'vienna3.tif')
    with pytest.raises(FileNotFoundError, match=r'1 of 2 masks of Inria do not exist, the first is .*gt/vienna3\.tif'):
        convert_set(row, tmp_path, tmp_path, 1)
    save(white(1), tmp_path / 'gt' / 'vienna3.tif')
    assert convert_set(row, tmp_path, tmp_path, 1) == (2, 2)
    assert {path.name for path in (tmp_path / 'ann_dir/split_test').glob('austin*')} == {
        f'austin1_{left}_{top}_{left + 40}_{top + 40}.png' for left in (0, 31) for top in (0, 13)}


def config(row, root):
    cfg = Config.fromfile(Path(ovseg.__file__).parents[1] / 'configs' / '_base_' / 'datasets' / f'{row.name}.py')
    cfg.test_dataloader.dataset.data_root = str(root)
    return cfg


def run_until_killed(row, archive, out):
    """Die like a process that is killed, in the middle of writing the seventh file."""
    written = []
    original = set_conversion.write_image

    def write_image(pixels, path):
        written.append(path)
        if len(written) == 7:
            path.with_name(f'{path.name}.0123abcd.part').write_bytes(b'half')
            os.kill(os.getpid(), signal.SIGKILL)
        original(pixels, path)

    set_conversion.write_image = write_image
    convert_set(row, archive, out, 2)


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='the killed process is a fork')
def test_a_killed_conversion_is_named_with_its_command_and_goes_on(small, tmp_path, monkeypatch):
    monkeypatch.setattr('sys.argv', ['ovseg convert sets', 'uavid', 'an archive', str(tmp_path / 'out')])
    archive, out = uavid(tmp_path / 'archive'), tmp_path / 'out'
    process = get_context('fork').Process(target=run_until_killed, args=(small, archive, out))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    command = f"ovseg convert sets uavid 'an archive' {out}"
    assert (out / 'ann_dir/test' / UNFINISHED).read_text() == command
    assert 0 < len(files(out)) < 64
    cfg = config(small, out)
    finding = check_dataset(cfg).findings[0]
    assert finding.error and finding.what == 'the conversion of the data set was stopped' and finding.steps[-1] == command
    with pytest.raises(FileNotFoundError, match=rf'/out/img_dir/test was stopped\. Continue it: {command}$'):
        check_data_files(cfg.test_dataloader.dataset)
    convert_set(small, archive, out, 2)
    convert_set(small, archive, tmp_path / 'at once', 1)
    assert files(out) == files(tmp_path / 'at once') and len(files(out)) == 64
    with DefaultScope.overwrite_default_scope('mmseg'):
        check_data_files(cfg.test_dataloader.dataset)
    assert [finding.what for finding in check_dataset(cfg).findings if finding.error] == []


@pytest.mark.parametrize(('name', 'pixels', 'message'), [
    ('whu_aerial', blocks(0, [0, 1]), r'its mask .* has the values 0 and 1, not \[0, 255\]: it has been converted already'),
    ('xbd', blocks(0, [0, 7]), 'has another content than expected, values that are no class: 7; say by --map OLD=NEW'),
    ('openearthmap', blocks(0, [0, 9, 12]), 'values that are no class: 9, 12; .*--map 9=255, which is not scored'),
    ('uavid', blocks(0, [(0, 0, 0), (1, 2, 3)], (113, 260)),
     r'colours that are in no palette: 1,2,3; add them by --map R,G,B=ID'),
    ('uavid', blocks(0, [0, 1, 2], (113, 260)), 'has grey values, not colours: it has been converted already'),
    ('whu_aerial', white(0, (53, 70)), 'has 53 x 70 pixels, and it has 53 x 71: one of them is of another version')])
def test_masks_of_another_version_are_refused_by_name(name, pixels, message, tmp_path):
    archive = uavid(tmp_path) if name == 'uavid' else write_archive(name, tmp_path)
    mask = 'seq21/Labels/000100.png' if name == 'uavid' else ARCHIVES[name][-1][1]
    save(pixels, archive / mask)
    with pytest.raises(ValueError, match=f'^cannot convert {archive}.*{message}') as caught:
        convert_set(ROWS[name], archive, archive / 'out', 1)
    assert '\n' not in str(caught.value) and str(archive / mask) in str(caught.value)


def test_other_colours_and_values_are_mapped(small, tmp_path):
    archive = uavid(tmp_path / 'archive')
    save(blocks(0, [(0, 0, 0), (1, 2, 3)], (113, 260)), archive / 'seq21/Labels/000100.png')
    convert_set(small, archive, tmp_path / 'out', 1, colours={(1, 2, 3): 255})
    assert set(np.unique(read(tmp_path / 'out/ann_dir/test/seq21_000100_0_61_0_83.png'))) == {0, 255}
    convert_set(small, archive, tmp_path / 'nearest', 1, nearest=True)
    assert set(np.unique(read(tmp_path / 'nearest/ann_dir/test/seq21_000100_0_61_0_83.png'))) == {0}
    with pytest.raises(ValueError, match='--map: the masks of UAVid have colours: R,G,B=ID'):
        convert_set(small, archive, tmp_path / 'out', 1, values={7: 0})
    with pytest.raises(ValueError, match='--map: the masks of xBD pre have grey values: OLD=NEW'):
        convert_set(ROWS['xbd'], archive, tmp_path / 'out', 1, colours={(1, 2, 3): 0})


@pytest.mark.parametrize('mode', ['1', 'P'])
def test_bits_and_palettes_of_black_and_white_are_read(mode, tmp_path):
    archive = write_archive('spacenet_road', tmp_path)
    mask = Image.fromarray(white(7)).convert(mode)
    mask.save(archive / 'gt/img1.png')
    convert_set(ROWS['spacenet_road'], archive, archive, 1)
    np.testing.assert_array_equal(read(archive / 'label_cvt/img1.png'), white(7) // 255)


def test_an_archive_of_something_else_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'has no \*/Images/\*\.png; SRC must be the folder of UAVid: '):
        convert_set(ROWS['uavid'], tmp_path, tmp_path / 'out', 1)
    with pytest.raises(FileNotFoundError, match=rf'so that {tmp_path} has val/image/'):
        convert_set(ROWS['whu_aerial'], tmp_path, tmp_path, 1)
    with pytest.raises(FileNotFoundError, match=r'there is no list of images .*val\.txt'):
        convert_set(ROWS['openearthmap'], tmp_path, tmp_path / 'out', 1)
    with pytest.raises(ValueError, match=r"name='loveda' is not converted by this command: python /.*loveda\.py SRC"):
        convert_set(ROWS['loveda'], tmp_path, tmp_path / 'out', 1)
    with pytest.raises(ValueError, match="name='vdd' is not converted by this command: its files are used as they are"):
        convert_set(ROWS['vdd'], tmp_path, tmp_path / 'out', 1)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_missing_or_has_no_listed_image(tmp_path):
    for name in ('inria', 'openearthmap'):
        with pytest.raises(FileNotFoundError, match=rf'^there is no folder {tmp_path}/nosuch$'):
            convert_set(ROWS[name], tmp_path / 'nosuch', tmp_path / 'out', 1)
    with pytest.raises(FileNotFoundError, match=rf'^{tmp_path} has no images/\*\.tif; SRC must be the folder of Inria: '):
        convert_set(ROWS['inria'], tmp_path, tmp_path / 'out', 1)
    (tmp_path / 'images').mkdir()
    (tmp_path / 'images' / 'bellingham1.tif').touch()
    with pytest.raises(FileNotFoundError, match=r'has no images/\*\.tif of the list; SRC must be the folder of Inria: '):
        convert_set(ROWS['inria'], tmp_path, tmp_path / 'out', 1)


def test_files_of_others_are_left_alone(tmp_path):
    archive = write_archive('spacenet_road', tmp_path)
    save(white(1), archive / 'label_cvt' / 'mine.png')
    with pytest.raises(ValueError, match=r'label_cvt is not empty and was not made by sets\.py'):
        convert_set(ROWS['spacenet_road'], archive, archive, 1)


@pytest.mark.parametrize('name', [name for name, row in ROWS.items() if row.conversion])
def test_conversions_give_labels_of_classes(name):
    conversion, classes = ROWS[name].conversion, len(read_class_list(ROWS[name].class_list))
    assert isinstance(conversion, Conversion) and conversion.images.count('*') >= conversion.masks.count('*') > 0
    labels = {*conversion.values.values(), *conversion.colours.values()} - {255}
    assert labels <= set(range(classes + ROWS[name].reduce_zero_label))
    assert not (conversion.values and conversion.colours) and not (conversion.only and conversion.only_in)


def test_every_remote_sensing_set_with_a_conversion_has_its_archive_here():
    converted = {row.name for row in ovseg.sets.FAMILIES['remote sensing'] if row.conversion}
    assert converted == {*ARCHIVES, 'uavid', 'inria'}


def test_a_mark_of_a_stopped_conversion_goes_when_all_files_are_there(tmp_path):
    row, archive, out = ROWS['xbd'], write_archive('xbd', tmp_path / 'archive'), tmp_path / 'out'
    convert_set(row, archive, out, 1)
    marks = [out / folder / UNFINISHED for folder in (row.img_path, row.seg_map_path)]
    for mark in marks:
        mark.write_text('command')
    assert convert_set(row, archive, out, 1) == (0, 2) and not any(mark.exists() for mark in marks)


def test_white_masks_of_numbered_classes_are_labels_or_refused(tmp_path):
    folder = write_archive('xbd', tmp_path / 'xbd')
    save(white(1), folder / 'targets/joplin-tornado_00000007_pre_disaster_target.png')
    convert_set(ROWS['xbd'], folder, tmp_path / 'out', 1)
    assert set(np.unique(read(tmp_path / 'out/targets_cvt_pre/joplin-tornado_00000007_pre_disaster.png'))) == {0, 1}
    folder = write_archive('openearthmap', tmp_path / 'oem')
    save(white(1), folder / 'aachen/labels/aachen_1.tif')
    with pytest.raises(ValueError, match=r'aachen_1.tif.? has the value 255, .* --map 255=LABEL'):
        convert_set(ROWS['openearthmap'], folder, tmp_path / 'oem_out', 1)
    assert convert_set(ROWS['openearthmap'], folder, tmp_path / 'again', 1, values={255: 255}) == (2, 2)


@pytest.mark.parametrize(('options', 'message'), [
    (dict(nproc=1, values={7: 1}), 'made by another --map or --nearest'),
    (dict(nproc=0), '^--nproc=0 must be an integer >= 1$')])
def test_refused_options_leave_a_finished_data_set_as_it_is(options, message, tmp_path):
    row, archive, out = ROWS['xbd'], write_archive('xbd', tmp_path / 'archive'), tmp_path / 'out'
    convert_set(row, archive, out, 1)
    before = {path: path.is_file() and path.read_bytes() for path in out.rglob('*')}
    with pytest.raises(ValueError, match=message):
        convert_set(row, archive, out, **options)
    assert {path: path.is_file() and path.read_bytes() for path in out.rglob('*')} == before


def test_a_damaged_record_of_options_is_named(tmp_path):
    row, archive, out = ROWS['xbd'], write_archive('xbd', tmp_path / 'archive'), tmp_path / 'out'
    convert_set(row, archive, out, 1)
    (out / row.seg_map_path / OPTIONS).write_bytes(b'[[\xff')
    with pytest.raises(ValueError, match=rf'record of options .*/{row.seg_map_path}/{OPTIONS} is not UTF-8'):
        convert_set(row, archive, out, 1)


def test_listed_images_that_are_not_there_are_warned_of(tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr(set_conversion, 'print_log', lambda text, *_: lines.append(text))
    convert_set(ROWS['openearthmap'], write_archive('openearthmap', tmp_path / 'archive'), tmp_path / 'out', 1)
    assert len(lines) == 1 and '1 of 3 listed images are not in' in lines[0] and "'of_xbd_3'" in lines[0]
