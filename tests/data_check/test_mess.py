"""Data sets of MESS that are half-prepared, of another version, or wrong: the finding names the script that corrects them."""
import runpy
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

import ovseg.sets
from ovseg.data_check.check import check_dataset
from ovseg.vocabulary import read_class_list

TESTS = Path(__file__).parents[1]
MINIATURES = runpy.run_path(str(TESTS / 'miniatures.py'))
LAYOUTS = MINIATURES['MESS_LAYOUTS']


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """Draws a miniature, of five published images; returns its config, and the paths of its images and label files."""
    monkeypatch.setenv('DATA_ROOT', str(tmp_path))

    def draw(name):
        monkeypatch.setitem(ovseg.sets.ROWS, name, replace(ovseg.sets.ROWS[name], images=5))
        maps = MINIATURES['draw'](name, tmp_path, range(len(read_class_list(name))))
        cfg = Config.fromfile(TESTS.parent / 'configs' / '_base_' / 'datasets' / f'{name}.py')
        files = [[tmp_path / pattern.format(stem) for stem in sorted(maps)]
                 for pattern in (LAYOUTS[name].images, LAYOUTS[name].labels)]
        return cfg, *files
    return draw


def only_finding(cfg, name):
    """The finding; its last step is the command of MESS, for the folder of all data sets."""
    finding, = check_dataset(cfg, nproc=1).findings
    row = ovseg.sets.ROWS[name]
    assert finding.error and finding.steps[-1] == row.convert[-1].format(data=row.root.parent)
    assert f'DETECTRON2_DATASETS={row.root.parent} python -m mess.prepare_datasets.prepare_' in finding.steps[-1]
    return finding


@pytest.mark.parametrize('name', LAYOUTS)
def test_what_mess_leaves_is_complete(name, drawn):
    cfg, *_ = drawn(name)
    report = check_dataset(cfg, nproc=1)
    assert report.complete and list(report.findings) == [] and report.read == report.images == report.published == 5
    assert report.classes == len(read_class_list(name)) and report.dataset.endswith('(MESS)' if 'paxray' not in name else ')')


def test_nothing_is_there(drawn, tmp_path):
    cfg, *_ = drawn('mess_dram')
    shutil.rmtree(tmp_path / 'DRAM_processed')
    finding = only_finding(cfg, 'mess_dram')
    assert 'DATA_ROOT' in finding.steps[0] and 'unrar' in finding.steps[1]


def test_downloaded_and_not_prepared(drawn, tmp_path):
    cfg, *_ = drawn('mess_suim')
    shutil.rmtree(tmp_path / 'SUIM' / 'annotations_detectron2')
    assert only_finding(cfg, 'mess_suim').files == [str(tmp_path / 'SUIM' / 'annotations_detectron2' / 'test')]


def test_a_task_of_paxray_is_missing(drawn, tmp_path):
    cfg, _, labels = drawn('mess_paxray_bones')
    shutil.rmtree(labels[0].parent)
    assert only_finding(cfg, 'mess_paxray_bones').files == [str(labels[0].parent)]


def test_the_script_was_stopped_between_image_and_label_map(drawn):
    cfg, _, labels = drawn('mess_atlantis')
    labels[-1].unlink()
    finding = only_finding(cfg, 'mess_atlantis')
    assert finding.what == '1 of 5 label files do not exist' and finding.files == [str(labels[-1])]


@pytest.mark.parametrize('name', ['mess_isprs_potsdam', 'mess_mhp_v1'])
def test_the_script_was_stopped_between_two_images(name, drawn):
    cfg, images, labels = drawn(name)
    images[0].unlink(), labels[0].unlink()
    assert only_finding(cfg, name).what == 'there are 4 images, but 5 in the published evaluation set'


@pytest.mark.parametrize('name', ['mess_atlantis', 'mess_cwfid'])
def test_folders_without_files(name, drawn):
    """What the scripts leave where the repository is in a folder too deep; images of CWFID are those with a label map."""
    cfg, images, labels = drawn(name)
    for path in (*labels, *(images if name == 'mess_atlantis' else [])):
        path.unlink()
    finding = only_finding(cfg, name)
    assert finding.what == 'there are 0 images, but 5 in the published evaluation set' and '/images exists' in finding.steps[0]


def test_images_of_a_stopped_cwfid_are_not_taken_for_those_of_the_test_set(drawn):
    cfg, _, labels = drawn('mess_cwfid')
    labels[1].unlink()
    assert only_finding(cfg, 'mess_cwfid').what == 'there are 4 images, but 5 in the published evaluation set'


@pytest.mark.parametrize(('name', 'values', 'what'), [
    ('mess_dark_zurich', [0, 7, 33], "no class: 33 to 33; they look like Dark Zurich's labelIds"),
    ('mess_atlantis', [1, 2, 56], "no class: 56 to 56; they look like ATLANTIS' own masks"),
    ('mess_worldfloods', [0, 1, 2, 3], "no class: 3 to 3; they look like WorldFloods' own labels"),
    ('mess_dram', [0, 15, 20], "no class: 15 to 20; they look like PASCAL VOC's ids"),
    ('mess_chase_db1', [0, 255], "nothing but 0 and 255, and 255 is not scored: 'others' would be the only class"),
    ('mess_deepcrack', [0, 255], "nothing but 0 and 255, and 255 is not scored: 'concrete or asphalt' would be the only class"),
    ('mess_cub_200', [0, 51, 204], 'no class: 204 to 204')])
def test_label_files_as_they_were_downloaded(name, values, what, drawn):
    cfg, images, labels = drawn(name)
    for image, path in zip(images, labels):
        with Image.open(image) as opened:
            width, height = opened.size
        Image.fromarray(np.resize(np.array(values, np.uint8), (height, width))).save(path)
    assert what in only_finding(cfg, name).what


def test_label_files_in_colour(drawn):
    cfg, _, labels = drawn('mess_cwfid')
    for path in labels:
        with Image.open(path) as opened:
            opened.convert('RGB').save(path)
    assert only_finding(cfg, 'mess_cwfid').what == '5 of 5 label files are colour images or have an alpha channel'


def test_tiles_of_another_size(drawn):
    cfg, images, labels = drawn('mess_uavid')
    with Image.open(images[2]) as opened:
        opened.resize((96, 54)).save(images[2])
    finding = only_finding(cfg, 'mess_uavid')
    assert finding.what == '1 of 5 label files have another size than their image' and finding.files == [str(labels[2])]
