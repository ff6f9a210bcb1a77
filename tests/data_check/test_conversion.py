import io
import os
import signal
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from ovseg.claims import LOCK, claim
from ovseg.data_check.conversion import (
    ADE20K_847_IDS,
    MARKER,
    ade20k_847_labels,
    claim_folder,
    coco_object_labels,
    context459_labels,
    convert_ade20k_847,
    convert_all,
    convert_coco_object,
    convert_context459,
)
from ovseg.files import write_image
from ovseg.vocabulary import read_class_list

# COCO's own numbers of its 80 things, from 1; COCO-Stuff's label maps count from 0.
NOT_IN_COCO = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91}


def stuff_map(shape=(37, 53), seed=0):
    """A COCO-Stuff label map in which every id occurs."""
    ids = [id_ for id_ in range(182) if id_ + 1 not in NOT_IN_COCO] + [255]
    labels = np.resize(np.array(ids, np.uint8), shape[0] * shape[1])
    np.random.default_rng(seed).shuffle(labels)
    return labels.reshape(shape)


def coco_object_loop(label_map):
    """Things in COCO's order get 1, 2, 3 …; all the rest is background."""
    names = [number for number in range(1, 91) if number not in NOT_IN_COCO]
    return [[1 + names.index(value + 1) if value + 1 in names else 0 for value in row] for row in label_map.tolist()]


def test_coco_object_numbers_the_things_and_makes_the_rest_background():
    label_map = stuff_map()
    labels = coco_object_labels(label_map)
    assert labels.dtype == np.uint8 and labels.tolist() == coco_object_loop(label_map)
    assert set(labels.flat) == set(range(81))
    assert set(labels[label_map == 255]) == {0}, 'unlabelled pixels count as background, as in the published benchmark'


def test_coco_object_has_the_names_of_coco_stuff_in_its_order():
    """Both class lists were written independently of the numbers."""
    stuff_ids = [id_ for id_ in range(182) if id_ + 1 not in NOT_IN_COCO]
    stuff_names, object_names = ([names[0] for names in read_class_list(name)] for name in ('coco_stuff', 'coco_object'))
    labels = coco_object_labels(np.array([stuff_ids], np.uint8))[0]
    things = {int(label): stuff_names[index] for index, label in enumerate(labels) if label}
    assert [things[label] for label in range(1, 81)] == object_names[1:]


@pytest.mark.parametrize('label_map, message', [
    (np.full((3, 5), 11, np.uint8), r'no ids \[11\]'),
    (np.full((3, 5), 182, np.uint8), r'no ids \[182\]'),
    (np.zeros((3, 5, 3), np.uint8), r'uint8 of shape \(3, 5, 3\)'),
    (np.zeros((3, 5), np.uint16), r'uint16 of shape \(3, 5\)')])
def test_coco_object_refuses_what_is_no_coco_stuff_label_map(label_map, message):
    with pytest.raises(ValueError, match=message):
        coco_object_labels(label_map)


def ade_segmentation(shape, seed):
    """R // 10 and G carry the object id, B an instance; every remainder of R occurs."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(0, high, shape) for high in (140, 256, 256)], -1).astype(np.uint8)


def ade20k_847_loop(segmentation):
    ids = [int(id_) for id_ in ADE20K_847_IDS.read_text().split()]
    labels = np.full(segmentation.shape[:2], 65535)
    for y, row in enumerate(segmentation.tolist()):
        for x, (red, green, _) in enumerate(row):
            id_ = int(red / 10) * 256 + green
            if id_ in ids:
                labels[y, x] = ids.index(id_)
    return labels


def test_ade20k_847_takes_the_object_ids_from_red_and_green():
    segmentation = ade_segmentation((41, 43), seed=0)
    segmentation[0, :4, :2] = [(0, 0), (255, 255), (11 * 10 + 9, 162), (20, 0)]  # none, highest, 2978 = wall, 512
    labels = ade20k_847_labels(segmentation)
    assert labels.dtype == np.uint16 and np.array_equal(labels, ade20k_847_loop(segmentation))
    assert labels[0, :3].tolist() == [65535, 65535, 0]


def test_ade20k_847_ids_ascend_as_the_names_do():
    """ADE20K numbered its objects in alphabetical order, apart from some that came later."""
    ids = [int(id_) for id_ in ADE20K_847_IDS.read_text().split()]
    assert len(ids) == len(set(ids)) == 847
    order = sorted(range(847), key=ids.__getitem__)
    classes = [', '.join(names) for names in read_class_list('ade20k_847')]
    names = [classes[index] for index in order if ids[index] < 3101]
    turns_back = [(one, other) for one, other in zip(names, names[1:]) if one > other]
    assert len(names) > 820 and len(turns_back) <= 10, turns_back  # those, because the list dropped a name that stood twice


def test_ade20k_847_refuses_a_grey_segmentation():
    with pytest.raises(ValueError, match=r'not an 8-bit RGB segmentation: uint8 of shape \(5, 7\)'):
        ade20k_847_labels(np.zeros((5, 7), np.uint8))


def test_context459_counts_from_zero():
    label_map = np.random.default_rng(0).permutation(np.resize(np.arange(460, dtype=np.uint16), 31 * 37)).reshape(31, 37)
    labels = context459_labels(label_map)
    assert labels.dtype == np.uint16
    assert labels.tolist() == [[value - 1 if value else 65535 for value in row] for row in label_map.tolist()]


@pytest.mark.parametrize('label_map, message', [
    (np.full((3, 5), 460, np.uint16), '460 to 460; PASCAL-Context has 0 to 459'),
    (np.full((3, 5), -1, np.int16), '-1 to -1; PASCAL-Context'),
    (np.zeros((3, 5)), r'no label map: float64'),
    (np.zeros((3, 5, 2), np.uint16), r'no label map: uint16 of shape \(3, 5, 2\)')])
def test_context459_refuses_other_label_maps(label_map, message):
    with pytest.raises(ValueError, match=message):
        context459_labels(label_map)


def write_ade(folder, size, seed=0):
    picture = np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)
    segmentation = ade_segmentation(size, seed)
    Image.fromarray(picture).save(folder / 'ADE_val_00000001.jpg')
    Image.fromarray(segmentation).save(folder / 'ADE_val_00000001_seg.png')
    return np.array(Image.open(folder / 'ADE_val_00000001.jpg')), segmentation


@pytest.mark.parametrize('size, expected', [
    ((19, 31), (19, 31)),  # small pictures stay
    ((17, 101), (17, 101)),
    ((41, 59), (23, round(59 / 41 * 23))),
    ((97, 43), (round(97 / 43 * 23), 23)),
    ((37, 37), (23, 23))])
def test_ade20k_847_is_scaled_as_in_maskformer(tmp_path, size, expected):
    """cv2.resize of the object ids, then a plain loop; here the short side is 23, not 512."""
    picture, segmentation = write_ade(tmp_path, size)
    convert_ade20k_847(tmp_path / 'ADE_val_00000001.jpg', tmp_path / 'out.jpg', tmp_path / 'out.tif', short_side=23)
    image, labels = np.array(Image.open(tmp_path / 'out.jpg')), np.array(Image.open(tmp_path / 'out.tif'))
    assert image.shape == (*expected, 3) and labels.shape == expected
    as_ids = (segmentation[..., 0] / 10).astype(np.int32) * 256 + segmentation[..., 1]
    if expected != size:
        picture = cv2.resize(picture, expected[::-1], interpolation=cv2.INTER_LINEAR)
        as_ids = cv2.resize(as_ids, expected[::-1], interpolation=cv2.INTER_NEAREST)
    ids = [int(id_) for id_ in ADE20K_847_IDS.read_text().split()]
    assert labels.tolist() == [[ids.index(id_) if id_ in ids else 65535 for id_ in row] for row in as_ids.tolist()]
    saved = io.BytesIO()
    Image.fromarray(picture).save(saved, 'JPEG')
    assert np.array_equal(image, np.array(Image.open(saved)))


def test_label_maps_of_16_bits_are_read_alike_by_pillow_and_opencv(tmp_path):
    labels = np.arange(29 * 31, dtype=np.uint16).reshape(29, 31) * 73
    write_image(labels, tmp_path / 'a.tif', compression='tiff_adobe_deflate')
    assert np.array_equal(np.array(Image.open(tmp_path / 'a.tif')), labels)
    assert np.array_equal(cv2.imread(str(tmp_path / 'a.tif'), cv2.IMREAD_UNCHANGED), labels)


def test_ade20k_847_refuses_a_segmentation_of_another_size(tmp_path):
    write_ade(tmp_path, (29, 31))
    Image.fromarray(ade_segmentation((31, 29), 0)).save(tmp_path / 'ADE_val_00000001_seg.png')
    with pytest.raises(ValueError, match=r'picture is 29 x 31 pixels, its _seg\.png 31 x 29'):
        convert_ade20k_847(tmp_path / 'ADE_val_00000001.jpg', tmp_path / 'out.jpg', tmp_path / 'out.tif')
    assert not (tmp_path / 'out.jpg').exists()


def test_context459_without_a_label_map(tmp_path):
    savemat(tmp_path / 'a.mat', dict(Other=np.zeros((3, 5), np.uint16)))
    with pytest.raises(ValueError, match='no LabelMap'):
        convert_context459(tmp_path / 'a.mat', tmp_path / 'a.tif')


def test_context459_without_scipy(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'scipy.io', None)
    with pytest.raises(ImportError, match=r'needs SciPy: .*pip install -e ".*\[converters\]"'):
        convert_context459(tmp_path / 'a.mat', tmp_path / 'a.tif')


def sources(folder, count=7):
    folder.mkdir(exist_ok=True)
    for index in range(count):
        Image.fromarray(stuff_map(seed=index)).save(folder / f'{index:012d}.png')
    return sorted(folder.glob('*.png'))


def jobs_of(paths, out):
    with claim_folder(out, 'coco_object.py'):
        pass
    return [(path, out / path.name) for path in paths]


@pytest.mark.parametrize('nproc', [1, 3])
def test_what_is_there_is_not_converted_again(tmp_path, nproc):
    jobs = jobs_of(sources(tmp_path / 'in'), tmp_path / 'out')
    assert convert_all(convert_coco_object, jobs[:3], nproc, 'title') == 3
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / 'out').iterdir()}
    assert convert_all(convert_coco_object, jobs, nproc, 'title') == 4
    assert {path: path.stat().st_mtime_ns for path in before} == before
    for source, target in jobs:
        assert np.array(Image.open(target)).tolist() == coco_object_loop(np.array(Image.open(source)))
    assert convert_all(convert_coco_object, jobs, nproc, 'title') == 0


def test_one_missing_target_of_two_is_enough_to_convert_again(tmp_path):
    write_ade(tmp_path, (29, 31))
    job = (tmp_path / 'ADE_val_00000001.jpg', tmp_path / 'out.jpg', tmp_path / 'out.tif')
    assert convert_all(convert_ade20k_847, [job], 1, 'title') == 1
    (tmp_path / 'out.jpg').unlink()
    assert convert_all(convert_ade20k_847, [job], 1, 'title') == 1
    assert (tmp_path / 'out.jpg').is_file()


def test_a_broken_source_is_named_and_the_rest_can_be_done_later(tmp_path):
    paths = sources(tmp_path / 'in')
    whole = paths[3].read_bytes()
    paths[3].write_bytes(whole[:len(whole) // 2])
    jobs = jobs_of(paths, tmp_path / 'out')
    with pytest.raises(ValueError, match=f'cannot convert {paths[3]}: .*[Tt]runcated'):
        convert_all(convert_coco_object, jobs, 2, 'title')
    assert not jobs[3][1].exists()
    paths[3].write_bytes(whole)
    convert_all(convert_coco_object, jobs, 2, 'title')
    assert all(target.is_file() for _, target in jobs)


@pytest.mark.parametrize('nproc', [0, -1, 1.5])
def test_a_bad_number_of_processes(nproc):
    with pytest.raises(ValueError, match='nproc'):
        convert_all(convert_coco_object, [], nproc, 'title')


def test_a_failure_while_writing_leaves_nothing_behind(tmp_path, monkeypatch):
    jobs = jobs_of(sources(tmp_path / 'in'), tmp_path / 'out')
    write = Path.write_bytes

    def disk_is_full(path, content):
        write(path, content[:40])
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(Path, 'write_bytes', disk_is_full)
    with pytest.raises(ValueError, match='No space left on device'):
        convert_all(convert_coco_object, jobs, 2, 'title')
    assert {path.name for path in (tmp_path / 'out').iterdir()} - {LOCK} == {MARKER}


def convert_until_killed(jobs):
    """Die like a process that is killed: in the middle of writing the fourth file."""
    write, written = Path.write_bytes, []

    def write_and_die(path, content):
        write(path, content)
        written.append(path)
        if len(written) == 4:
            os.truncate(path, 40)
            os.kill(os.getpid(), signal.SIGKILL)

    Path.write_bytes = write_and_die
    convert_all(convert_coco_object, jobs, 1, 'title')


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='the killed process is a fork')
def test_a_killed_run_leaves_no_half_written_mask_and_is_resumed(tmp_path):
    jobs = jobs_of(sources(tmp_path / 'in'), tmp_path / 'out')
    process = get_context('fork').Process(target=convert_until_killed, args=(jobs,))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    parts = list((tmp_path / 'out').glob('*.part'))
    assert len(parts) == 1 and parts[0].stat().st_size == 40, 'the file that was being written has not got its name yet'
    assert [target.exists() for _, target in jobs] == [True] * 3 + [False] * 4

    assert convert_all(convert_coco_object, jobs_of(sources(tmp_path / 'in'), tmp_path / 'out'), 2, 'title') == 4
    assert {path.name for path in (tmp_path / 'out').iterdir()} - {LOCK} == {MARKER, *(target.name for _, target in jobs)}
    for source, target in jobs:
        assert np.array(Image.open(target)).tolist() == coco_object_loop(np.array(Image.open(source)))


def test_a_folder_of_others_is_refused(tmp_path):
    (tmp_path / 'photo.jpg').write_bytes(b'mine')
    with pytest.raises(ValueError, match=f'{tmp_path} is not empty and was not made by coco_object.py'), \
            claim_folder(tmp_path, 'coco_object.py'):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ['photo.jpg']


def test_a_folder_of_another_converter_is_refused(tmp_path):
    for _ in range(2):
        with claim_folder(tmp_path / 'out', 'coco_object.py'):
            pass
    with pytest.raises(ValueError, match=r'was made by coco_object\.py, not by context459\.py'), \
            claim_folder(tmp_path / 'out', 'context459.py'):
        pass


def test_a_folder_into_which_another_process_converts_is_refused(tmp_path):
    with claim_folder(tmp_path, 'coco_object.py'):
        part = tmp_path / 'a.png.0123abcd.part'
        part.touch()
        with pytest.raises(BlockingIOError, match='is in use'), claim_folder(tmp_path, 'coco_object.py'):
            pass
        assert part.exists()  # the other process is writing it
    with claim_folder(tmp_path, 'coco_object.py'):
        assert not part.exists()


def test_a_run_killed_before_its_marker_is_written_leaves_the_folder_free(tmp_path):
    with claim(tmp_path):
        pass
    with claim_folder(tmp_path, 'coco_object.py'):
        assert (tmp_path / MARKER).is_file()
