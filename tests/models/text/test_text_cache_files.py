"""The files of cached text embeddings: written by several at once, damaged, and on a full disk."""
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from ovseg.models.text.text_cache import load_rows, store_rows


def files(folder):
    return sorted(path for path in folder.rglob('*') if path.is_file())


def test_threads_that_store_at_once_leave_whole_rows(folder):
    path = folder / 'text' / 'key.safetensors'
    rows = {f'{writer} {i}': torch.full((13,), 100.0 * writer + i) for writer in range(7) for i in range(11)}

    def write(writer):
        for i in range(11):
            store_rows(path, {f'{writer} {i}': rows[f'{writer} {i}']}, 100)
            found = load_rows(path)
            assert all(torch.equal(row, rows[name]) for name, row in found.items())

    with ThreadPoolExecutor(7) as pool:
        list(pool.map(write, range(7)))
    found = load_rows(path)
    assert found and all(torch.equal(row, rows[name]) for name, row in found.items())
    assert files(folder) == [path]


def test_writers_one_after_the_other_lose_nothing(folder):
    path = folder / 'key.safetensors'
    for i in range(5):
        store_rows(path, {str(i): torch.full((3,), float(i)), 'last': torch.full((3,), -float(i))}, 100)
    assert {name: row.tolist() for name, row in load_rows(path).items()} == {
        **{str(i): [float(i)] * 3 for i in range(5)}, 'last': [-4.0] * 3}


def test_every_byte_may_be_damaged(folder, warnings_logged):
    path = folder / 'key.safetensors'
    store_rows(path, {'cat': torch.arange(3.0), 'mud': torch.ones(3)}, 100)
    content = path.read_bytes()
    for i in range(len(content)):
        path.write_bytes(content[:i] + bytes([content[i] ^ 2]) + content[i + 1:])
        with warnings_logged():
            assert load_rows(path) == {}, f'byte {i}'


def test_a_file_of_another_content_under_this_name_is_refused(folder, warnings_logged):
    store_rows(folder / 'other.safetensors', {'cat': torch.ones(3)}, 100)
    os.rename(folder / 'other.safetensors', folder / 'key.safetensors')
    with warnings_logged() as warnings:
        assert load_rows(folder / 'key.safetensors') == {}
    assert len(warnings) == 1 and 'key.safetensors cannot be read' in warnings[0]


@pytest.mark.parametrize(('old', 'new'), [(b'"dtype":"F32","shape":[2,3]', b'"dtype":"I32","shape":[2,3]'),
                                          (b'"dtype":"F32","shape":[2,3]', b'"dtype":"F32","shape":[3,2]')])
def test_type_and_shape_are_part_of_the_checksum(old, new, folder, warnings_logged):
    path = folder / 'key.safetensors'
    store_rows(path, {'cat': torch.arange(3.0), 'mud': torch.ones(3)}, 100)
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))
    with warnings_logged() as warnings:
        assert load_rows(path) == {}
    assert 'its checksum is wrong' in warnings[0]


@pytest.mark.parametrize('value', [torch.nan, torch.inf])
def test_rows_that_are_not_finite_are_refused(value, folder, warnings_logged):
    path = folder / 'key.safetensors'
    store_rows(path, {'cat': torch.ones(3), 'mud': torch.tensor([1.0, value, 2.0])}, 100)
    with warnings_logged() as warnings:
        assert load_rows(path) == {}
    assert 'not all of its rows are finite' in warnings[0]


def test_temporary_files_of_a_killed_process_go_after_an_hour(folder):
    old, new = (folder / f'key.safetensors.{number}.part' for number in ('01234567', '89abcdef'))
    folder.mkdir()
    for part, age in ((old, 3700), (new, 60)):
        part.write_bytes(b'half')
        os.utime(part, (time.time() - age,) * 2)
    store_rows(folder / 'key.safetensors', {'cat': torch.ones(3)}, 100)
    assert files(folder) == [folder / 'key.safetensors', new]


def test_disk_that_is_full_leaves_the_old_file(folder, warnings_logged, monkeypatch):
    path = folder / 'key.safetensors'
    store_rows(path, {'cat': torch.ones(3)}, 100)

    def write_half(self, data):
        with self.open('wb') as file:
            file.write(data[:9])
        raise OSError(28, 'No space left on device')

    with monkeypatch.context() as patch, warnings_logged() as warnings:
        patch.setattr(Path, 'write_bytes', write_half)
        store_rows(path, {'mud': torch.ones(3)}, 100)
    assert len(warnings) == 1 and 'No space left on device' in warnings[0]
    assert files(folder) == [path] and list(load_rows(path)) == ['cat']
