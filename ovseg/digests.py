"""Digests (SHA-256, hexadecimal) of what results depend on."""
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Mapping, Sequence

import torch
from torch import Tensor

from ovseg.files import file_stamp


def tensor_digest(tensor: Tensor) -> str:
    """Digest of type, shape and bytes."""
    tensor = tensor.detach().cpu().contiguous()
    digest = hashlib.sha256(f'{tensor.dtype} {tuple(tensor.shape)}'.encode())
    digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """Digest of named tensors; their order does not count."""
    with ThreadPoolExecutor() as pool:  # hashing does not hold Python's lock
        digests = dict(zip(tensors, pool.map(tensor_digest, tensors.values())))
    return hashlib.sha256(repr(sorted(digests.items())).encode()).hexdigest()


def class_list_digest(synonyms: Sequence[Sequence[str]]) -> str:
    """Digest of the names of each class, in their order."""
    return hashlib.sha256(json.dumps([list(names) for names in synonyms]).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """Digest of a file's content. It is read again only where its size or time has changed since the last call."""
    return _file_digest(path.resolve(), *file_stamp(path))


@cache
def code_digest() -> str:
    """Digest of the source of ovseg."""
    root = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob('*.py')):
        digest.update(f'{path.relative_to(root).as_posix()} {file_digest(path)}\n'.encode())
    return digest.hexdigest()


@cache
def _file_digest(path: Path, size: int, time: int) -> str:
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while block := file.read(2 ** 22):
            digest.update(block)
    return digest.hexdigest()
