"""Containers and tensors from files of ``torch.save`` and ``torch.jit.save``, read without executing anything.

``torch.load`` is not used: before torch 2.6, even with ``weights_only``, it passes TorchScript archives to ``torch.jit.load``,
which runs their code, and its checks of sizes and names differ between releases.
"""
import io
import struct
import sys
import zipfile
import zlib
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, BinaryIO, Dict

import torch
from torch import Tensor

from ovseg.models.towers.pickles import Storage, parse, rebuild
from ovseg.models.towers.torchscript import is_script, named_weights

ARCHIVE = b'PK\3\4'
LEGACY = b'\x80\2\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.'  # pickled number at the start of files written before torch 1.6
PROTOCOL = 1001
LONGEST_PICKLE = LONGEST_CODE = 1 << 24  # a model of 1,000 tensors has some 100 kB
# errors that zipfile, pickletools and torch raise for damaged bytes
BROKEN = (RuntimeError, EOFError, OSError, LookupError, TypeError, ValueError, AttributeError, AssertionError, OverflowError,
          struct.error, zlib.error, UnpicklingError, zipfile.BadZipFile)


def read_torch_file(path: Path) -> Any:
    """Content of a file of ``torch.save`` or ``torch.jit.save``: containers, strings, numbers and tensors (on the CPU).

    Args:
        path: A zip archive, or the format of ``torch.save`` before torch 1.6. For a TorchScript archive, the result is the
            ``state_dict()`` of its module.

    Raises:
        Any of BROKEN: the file is damaged, or holds anything else.
    """
    with open(path, 'rb') as file:
        size, start = path.stat().st_size, file.read(len(LEGACY))
        if start.startswith(ARCHIVE):
            return _read_archive(file, size)
        if start == LEGACY:
            return _read_legacy(file, size)
    raise ValueError('it is neither a zip archive nor a file of torch.save' if start else 'the file is empty')


def is_torchscript(path: Path) -> bool:
    """Return True if the names of its entries show that a file is an archive of ``torch.jit.save``."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any('/code/' in name for name in archive.namelist())
    except BROKEN:  # not a zip archive, or a damaged one: ``read_torch_file`` reports it
        return False


class _Archive:
    """A zip archive of torch: its entries lie in one folder, and only code may be compressed."""

    def __init__(self, archive: zipfile.ZipFile, size: int) -> None:
        self.archive = archive
        entries = archive.infolist()
        names = [entry.filename for entry in entries]
        if len(set(names)) < len(names):
            raise ValueError('its archive has two entries of one name')
        if sum(entry.compress_size for entry in entries) > size:
            raise ValueError('the entries of its archive overlap or claim more bytes than the file has')
        if sum(entry.file_size for entry in entries if entry.filename.endswith('.py')) > LONGEST_CODE:
            raise ValueError('its code is too long')
        roots = [name[:-len('/data.pkl')] for name in names if name.endswith('/data.pkl') and name.count('/') == 1]
        if len(roots) != 1:
            raise ValueError('its archive is not one of torch, which must have one data.pkl in one folder')
        self.root, = roots

    def read(self, name: str) -> bytearray:
        """The bytes of an entry, with its checksum verified."""
        entry = self.archive.getinfo(f'{self.root}/{name}')
        # of the methods of compression, zipfile limits only the output of deflate to the declared size
        allowed = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) if name.endswith('.py') else (zipfile.ZIP_STORED,)
        if entry.compress_type not in allowed:
            raise ValueError(f'its entry {name!r} has the compression method {entry.compress_type}, which torch does not use')
        return bytearray(self.archive.read(entry))

    def read_storage(self, storage: Storage) -> Tensor:
        return _elements(self.read(f'data/{storage.key}'), storage)


def _read_archive(file: BinaryIO, size: int) -> Any:
    with zipfile.ZipFile(file) as opened:
        archive = _Archive(opened, size)
        if f'{archive.root}/byteorder' in opened.NameToInfo and archive.read('byteorder') != sys.byteorder.encode():
            raise ValueError('it was written on a machine of another byte order')
        pickle = archive.read('data.pkl')
        if len(pickle) > LONGEST_PICKLE:
            raise ValueError(f'its pickle has {len(pickle)} bytes, more than {LONGEST_PICKLE}')
        tree = parse(io.BytesIO(pickle)).tree
        if is_script(tree):
            tree = named_weights(tree, lambda name: archive.read(name).decode())
        return rebuild(tree, archive.read_storage, size)


def _read_legacy(file: BinaryIO, size: int) -> Any:
    """Read the rest of the file: version, description of the machine, pickled object, and the keys and bytes of storages."""
    head = io.BytesIO(file.read(LONGEST_PICKLE))
    if parse(head).tree != PROTOCOL:
        raise ValueError('it is of an unknown version of torch.save')
    if parse(head).tree.get('little_endian') != (sys.byteorder == 'little'):
        raise ValueError('it was written on a machine of another byte order')
    tree, described = parse(head)
    keys = parse(head).tree
    file.seek(len(LEGACY) + head.tell())
    storages: Dict[str, Tensor] = {}
    for key in keys:
        storage = described[key]
        numel, = struct.unpack('<q', file.read(8))
        length = numel * storage.dtype.itemsize
        if not 0 <= length <= size - file.tell():
            raise ValueError(f'its storage {key!r} claims more bytes than the file has')
        storages[key] = _elements(bytearray(file.read(length)), storage)
    return rebuild(tree, lambda storage: storages[storage.key], size)


def _elements(data: bytearray, storage: Storage) -> Tensor:
    """The elements of a storage, which share the memory of ``data``."""
    if len(data) != storage.numel * storage.dtype.itemsize:
        raise ValueError(f'its storage {storage.key!r} has {len(data)} bytes instead of {storage.numel} {storage.dtype}')
    return torch.frombuffer(data, dtype=storage.dtype) if data else torch.empty(0, dtype=storage.dtype)
