import sys

import numpy as np
import pytest
from PIL import Image

from ovseg.cli import convert, main


@pytest.fixture(autouse=True)
def _arguments_of_their_own(monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['ovseg'])


def test_every_converter_is_a_name_with_a_line():
    assert {'ade20k_847', 'coco_object', 'context459'} <= set(convert.converters())


def test_a_converter_runs(tmp_path, monkeypatch, capsys):
    source = tmp_path / 'stuff' / 'annotations' / 'val2017'
    source.mkdir(parents=True)
    Image.fromarray(np.array([[0, 1, 255], [91, 89, 2]], np.uint8)).save(source / '000000000139.png')
    assert main(['convert', 'coco_object', str(tmp_path / 'stuff'), str(tmp_path / 'out'), '--nproc', '1']) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith('1 label maps written, 0 were there')
    written = tmp_path / 'out' / 'annotations' / 'val2017' / '000000000139_instanceTrainIds.png'
    assert np.array_equal(np.array(Image.open(written)), [[1, 2, 0], [0, 80, 3]])


def test_an_error_is_a_line(tmp_path, capsys):
    assert main(['convert', 'coco_object', str(tmp_path), str(tmp_path / 'out')]) == 1
    line, = capsys.readouterr().err.splitlines()
    assert line.startswith('ovseg: error: ') and 'has no COCO-Stuff label maps' in line


def test_arguments_of_a_converter_are_its_own(capsys):
    with pytest.raises(SystemExit) as finished:
        main(['convert', 'coco_object', '--help'])
    assert finished.value.code == 0
    assert capsys.readouterr().out.startswith('usage: ovseg convert coco_object [-h] [--nproc NPROC] coco_stuff out')


def test_an_unknown_name_exits_with_2(capsys):
    with pytest.raises(SystemExit) as finished:
        main(['convert', 'coco'])
    assert finished.value.code == 2 and "invalid choice: 'coco' (choose from " in capsys.readouterr().err
