import os
import subprocess
import sys
from itertools import zip_longest
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

import ovseg
from ovseg.files import check_writable, write_figure, write_image, write_text, write_whole

PIXELS = np.arange(37 * 53, dtype=np.uint16).reshape(37, 53)


def test_a_file_gets_its_name_when_it_is_whole(tmp_path, monkeypatch):
    seen = []

    def replace(part, path):
        seen.append((path.exists(), np.array(Image.open(part)).tolist()))
        os.rename(part, path)

    monkeypatch.setattr('ovseg.files.os.replace', replace)
    write_image(PIXELS, tmp_path / 'a.png')
    assert seen == [(False, PIXELS.tolist())]


def test_the_content_is_on_the_disk_before_the_file_has_its_name(tmp_path, monkeypatch):
    calls = []
    synchronise, rename = os.fsync, os.replace

    def fsync(descriptor):
        calls.append(('fsync', os.fstat(descriptor).st_ino, os.fstat(descriptor).st_size))
        synchronise(descriptor)

    def replace(part, path):
        calls.append(('replace', part.stat().st_ino, part.stat().st_size))
        rename(part, path)

    monkeypatch.setattr('ovseg.files.os.fsync', fsync)
    monkeypatch.setattr('ovseg.files.os.replace', replace)
    write_text(tmp_path / 'a.txt', 'Größe 木')
    status = (tmp_path / 'a.txt').stat()
    assert calls == [('fsync', status.st_ino, 11), ('replace', status.st_ino, 11)]


def test_an_error_of_the_clean_up_does_not_hide_the_first(tmp_path, monkeypatch):
    def unlink(self, missing_ok=False):
        raise OSError(30, 'Read-only file system')

    def fail(part):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('pathlib.Path.unlink', unlink)
    with pytest.raises(OSError, match='No space left'):
        write_whole(tmp_path / 'a.txt', fail)


@pytest.mark.parametrize('suffix', ['png', 'tif'])
def test_the_ending_names_the_format(tmp_path, suffix):
    write_image(PIXELS, tmp_path / f'a.{suffix}')
    with Image.open(tmp_path / f'a.{suffix}') as image:
        assert image.format == dict(png='PNG', tif='TIFF')[suffix] and np.array(image).tolist() == PIXELS.tolist()


def test_an_error_leaves_the_old_file_and_no_part(tmp_path):
    write_text(tmp_path / 'a.txt', 'Größe 木')

    def fail(part):
        part.write_text('half')
        raise OSError(28, 'No space left on device')

    with pytest.raises(OSError, match=rf"No space left on device: '{tmp_path}/a\.txt'$"):
        write_whole(tmp_path / 'a.txt', fail)
    assert [path.name for path in tmp_path.iterdir()] == ['a.txt']
    assert (tmp_path / 'a.txt').read_text(encoding='utf-8') == 'Größe 木'


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from matplotlib.figure import Figure
from ovseg.ablation.rows import RowWriter
from ovseg.files import check_writable, write_figure, write_image, write_text

folder, pixels = Path(sys.argv[1]), np.arange(37 * 53, dtype=np.uint8).reshape(37, 53)
row = RowWriter(folder / 'row', 'digest', {'a.jpg': dict(image=[3, 5], mask=[7, 11])})
row.keep([])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5, 5))  # fails where a full disk does
for write in (lambda: write_text(folder / 'a.txt', 'more than five'), lambda: write_image(pixels, folder / 'a.png'),
              lambda: write_image(pixels, folder / 'a.jpg'), lambda: write_image(pixels, folder / 'a.tif'),
              lambda: write_figure(Figure(), folder / 'a.svg'), lambda: row.add('a.jpg', np.ones((3, 2), np.int64))):
    try:
        write()
    except OSError as error:
        print(error)
"""


def test_a_full_disk_names_the_file_and_leaves_nothing(tmp_path):
    ended = subprocess.run([sys.executable, '-c', FULL_DISK, str(tmp_path)], capture_output=True, text=True, timeout=300,
                           cwd=Path(ovseg.__file__).parents[1], check=True)
    names = ['a.txt', 'a.png', 'a.jpg', 'a.tif', 'a.svg', 'row/rows/digest.part.jsonl']
    for name, line in zip_longest(names, ended.stdout.splitlines()):
        assert line.endswith(f": '{tmp_path / name}'")
    assert [path.name for path in tmp_path.iterdir()] == ['row']


def test_a_figure_is_written_in_the_format_of_its_name(tmp_path):
    write_figure(Figure(), tmp_path / 'a.svg')
    assert '<svg' in (tmp_path / 'a.svg').read_text()


def test_a_file_that_can_be_written_is_accepted(tmp_path, monkeypatch):
    check_writable(tmp_path / 'a.onnx')
    (tmp_path / 'b.onnx').touch()
    check_writable(tmp_path / 'b.onnx')
    monkeypatch.chdir(tmp_path)
    check_writable(Path('a.onnx'))
    assert [path.name for path in tmp_path.iterdir()] == ['b.onnx']


def test_a_file_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    with pytest.raises(IsADirectoryError, match=f'--out {tmp_path} is a folder: name a file'):
        check_writable(tmp_path)
    with pytest.raises(FileNotFoundError, match=r'--out \S*/no/a\.onnx: there is no folder \S*/no'):
        check_writable(tmp_path / 'no' / 'a.onnx')
    monkeypatch.setattr('ovseg.files.os.access', lambda path, mode: False)
    with pytest.raises(PermissionError, match=r'--out \S*/a\.onnx: the folder \S+ cannot be written'):
        check_writable(tmp_path / 'a.onnx')
