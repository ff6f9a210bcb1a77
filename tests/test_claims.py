import pytest

from ovseg.claims import LOCK, claim
from ovseg.files import write_text


def test_a_folder_is_made_and_locked(tmp_path):
    folder = tmp_path / 'new' / 'one'
    with claim(folder):
        assert [path.name for path in folder.iterdir()] == [LOCK]
        with pytest.raises(BlockingIOError, match=r'one is in use'), claim(folder):
            pass
    with claim(folder):
        pass


def test_temporary_files_of_a_killed_process_go_and_others_stay(tmp_path):
    write_text(tmp_path / 'a.txt', 'whole')
    (tmp_path / 'deep').mkdir()
    for name in ('deep/b.png.0123abcd.part', 'c.json.ffffffff.part', 'mine.part', 'rows.part.jsonl'):
        (tmp_path / name).write_text('half')
    with claim(tmp_path):
        pass
    assert sorted(path.name for path in tmp_path.rglob('*.*') if path.name != LOCK) == ['a.txt', 'mine.part', 'rows.part.jsonl']


def test_files_of_a_process_that_still_writes_stay(tmp_path):
    with claim(tmp_path):
        (tmp_path / 'b.png.0123abcd.part').write_text('half')
        with pytest.raises(BlockingIOError), claim(tmp_path):
            pass
        assert (tmp_path / 'b.png.0123abcd.part').exists()


def test_folders_with_a_lock_of_their_own_are_left_alone(tmp_path):
    with claim(tmp_path / 'maps'):
        (tmp_path / 'maps' / 'deep').mkdir()
        parts = [tmp_path / 'maps' / 'a.png.0123abcd.part', tmp_path / 'maps' / 'deep' / 'b.png.0123abcd.part']
        for part in parts:
            part.write_text('half')
        with claim(tmp_path):
            assert all(part.exists() for part in parts)


def test_a_temporary_file_that_goes_meanwhile_is_no_error(tmp_path, monkeypatch):
    monkeypatch.setattr('ovseg.claims._parts', lambda folder: [folder / 'a.png.0123abcd.part'])
    with claim(tmp_path):
        pass
