import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from ovseg.claims import claim
from ovseg.web.folder import PREFIX, own_folder, remove_oldest


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    return tmp_path


def test_a_folder_is_removed_at_the_end(temporary):
    with own_folder() as folder:
        (folder / 'files').mkdir()
        (folder / 'files' / 'a.png').touch()
        assert folder.parent == temporary
    assert list(temporary.iterdir()) == []


@pytest.mark.slow
def test_a_killed_server_s_folder_is_removed_at_the_next_start_and_a_live_one_s_never(temporary):
    code = ('import sys\nfrom ovseg.web.folder import own_folder\n'
            'with own_folder() as folder:\n    print(folder, flush=True)\n    sys.stdin.read()')
    environment = dict(os.environ, TMPDIR=str(temporary))
    dead, live = (subprocess.Popen([sys.executable, '-c', code], env=environment, text=True, stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE) for _ in range(2))
    folders = [process.stdout.readline().strip() for process in (dead, live)]
    dead.kill()
    dead.communicate()
    assert all(map(os.path.isdir, folders))
    with own_folder():
        assert [os.path.isdir(folder) for folder in folders] == [False, True]
    live.communicate('')
    assert not os.path.isdir(folders[1])


def test_links_and_files_of_that_name_are_left_alone(temporary):
    target = temporary / 'target'
    target.mkdir()
    (target / 'kept').touch()
    link, file = temporary / f'{PREFIX}link', temporary / f'{PREFIX}file'
    link.symlink_to(target)
    file.touch()
    with own_folder():
        assert (target / 'kept').exists() and link.is_symlink() and file.exists()


def test_a_folder_that_another_server_has_taken_before_it_is_locked_is_made_anew(temporary, monkeypatch):
    make, made = tempfile.mkdtemp, []

    def taken(**kwargs):
        made.append(make(**kwargs))
        if len(made) == 1:
            other.enter_context(claim(Path(made[0])))
        return made[-1]
    monkeypatch.setattr(tempfile, 'mkdtemp', taken)
    with ExitStack() as other, own_folder() as folder:
        assert str(folder) == made[1] and folder.exists()


def test_a_folder_that_another_server_has_removed_before_it_is_locked_is_made_anew(temporary, monkeypatch):
    claimed = []

    @contextmanager
    def removed(folder):
        claimed.append(folder)
        with claim(folder):
            if len(claimed) == 1:
                shutil.rmtree(folder)
            yield
    monkeypatch.setattr('ovseg.web.folder.claim', removed)
    with own_folder() as folder:
        assert folder == claimed[1] and folder.exists()


def test_the_folder_is_the_users_own(temporary, monkeypatch):
    with own_folder() as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        os.mkdir(temporary / f'{PREFIX}other')
        with claim(temporary / f'{PREFIX}other'):
            pass
        monkeypatch.setattr(os, 'getuid', lambda: folder.stat().st_uid + 1)
        with own_folder():
            assert (temporary / f'{PREFIX}other').exists()


@pytest.mark.slow
def test_without_fcntl_the_folder_is_made(temporary):
    """As on Windows, where other code of filelock makes the lock."""
    code = ("import sys\nsys.modules['fcntl'] = None\nimport os\nimport mmengine\ndel os.getuid\n"
            'from ovseg.web.folder import own_folder\n'
            'with own_folder() as folder:\n    assert folder.is_dir()\nassert not folder.exists()')
    ended = subprocess.run([sys.executable, '-c', code], env=dict(os.environ, TMPDIR=str(temporary)), capture_output=True,
                           text=True)
    assert ended.returncode == 0, ended.stderr


def fill(folder, names, size=11):
    for time, name in enumerate(names):
        (folder / name).mkdir()
        (folder / name / 'image.png').write_bytes(bytes(size))
        os.utime(folder / name, (time, time))


def test_the_oldest_are_removed(tmp_path):
    fill(tmp_path, 'ebcad')
    remove_oldest(tmp_path, 3, 1000)
    assert {path.name for path in tmp_path.iterdir()} == set('cad')
    remove_oldest(tmp_path, 3, 22)
    assert {path.name for path in tmp_path.iterdir()} == set('ad')
    remove_oldest(tmp_path, 3, 21)
    assert {path.name for path in tmp_path.iterdir()} == set('d')


def test_examples_are_kept_and_links_not_followed(tmp_path):
    folder = tmp_path / 'files'
    folder.mkdir()
    fill(folder, 'abc')
    other = tmp_path / 'other'
    other.mkdir()
    (folder / 'link').symlink_to(other)
    remove_oldest(folder, 1, 11, [str(folder / 'a' / 'image.png')])
    assert {path.name for path in folder.iterdir()} == {'a', 'c', 'link'} and other.exists()
