"""Text embeddings on disk, addressed by content: model, weights, tokenizer, templates, name.

One file holds all names of one model and one set of templates: a changed name costs one encoding, and a start opens one file,
where a file per name would open hundreds on a network file system.
"""
import hashlib
import json
import os
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, Union
from weakref import WeakKeyDictionary

import torch
from mmengine.logging import print_log
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from ovseg.digests import tensor_digest, tensors_digest
from ovseg.files import PART_PATTERN, write_whole
from ovseg.utils import expanded, one_line, quoted

FORMAT = 3  # part of every key: raise it when rows are computed or written in another way
SECONDS_OF_A_WRITE = 3600  # longer than any file takes to be written
_weights_digests: 'WeakKeyDictionary[nn.Module, Tuple[List[Any], str]]' = WeakKeyDictionary()  # and the state they belong to
PROBE = 'A Zebra-crossing, 3 x_y &amp; Größe 木 🐈!'  # letter case, digits, markup, accents, other scripts


def cache_folder() -> Optional[Path]:
    """Folder of ovseg's cache: ``OVSEG_CACHE``, by default ``~/.cache/ovseg`` (in ``XDG_CACHE_HOME``, where that is set).

    None where ``OVSEG_CACHE`` is empty or ``off``: nothing is read or written then.
    """
    chosen = os.environ.get('OVSEG_CACHE')
    if chosen is None:
        return expanded('OVSEG_CACHE (not set)', os.environ.get('XDG_CACHE_HOME') or '~/.cache') / 'ovseg'
    return None if chosen in ('', 'off') else expanded('OVSEG_CACHE', chosen)


def content_key(clip: nn.Module, tokenizer: Callable[..., Tensor], templates: Sequence[str]) -> str:
    """Digest (SHA-256) of all that the rows depend on, apart from the names.

    Args:
        clip: An open_clip model. Of its text tower count every byte of every parameter and buffer, and the modules' types
            and settings (activation, heads, pooling); its image tower does not.
        tokenizer: Counts by what it makes of one sentence.
        templates: Count in the order given.
    """
    modules = [(name, type(module).__qualname__, _settings(module)) for name, module in clip.named_modules() if _is_text(name)]
    content = [FORMAT, modules, _weights_digest(clip), tensor_digest(tokenizer([PROBE])), list(templates)]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def load_rows(path: Path) -> Dict[str, Tensor]:
    """The rows ``(E,)`` of all names in a cache file; none, with a warning that names it, where it is damaged."""
    try:
        if not path.is_file():
            return {}
        tensors = load(path.read_bytes())  # read at once: a file that is mapped might be replaced between head and rows
        if tensors.keys() != {'names', 'rows', 'digests'}:
            raise ValueError(f'it holds {", ".join(tensors) or "nothing"}')
        if _bytes(tensors['digests']) != _digests(path, tensors['names'], tensors['rows']):
            raise ValueError('its checksum is wrong')
        if not tensors['rows'].isfinite().all():
            raise ValueError('not all of its rows are finite')
    except (OSError, ValueError, SafetensorError) as error:
        _warn_once(f'the text embeddings cached in {quoted(path)} cannot be read and are computed again: {one_line(error)}')
        return {}
    return dict(zip(json.loads(_bytes(tensors['names'])), tensors['rows']))


def store_rows(path: Path, rows: Mapping[str, Tensor], most: int) -> None:
    """Add rows ``(E,)`` to a cache file, which then holds the ``most`` newest. Where that is impossible, say so once and go on.

    Readers and other writers see the old file or the new one, never a part. Of two writers at the same instant the later
    one wins; what the earlier one added is encoded again when it is needed.
    """
    everything = dict(list({**load_rows(path), **rows}.items())[-most:])
    names, matrix = _tensor(json.dumps(list(everything)).encode()), torch.stack(list(everything.values()))
    tensors = dict(names=names, rows=matrix, digests=_tensor(_digests(path, names, matrix)))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for part in path.parent.glob(PART_PATTERN):  # others may be writing theirs; an old one belongs to a killed process
            with suppress(FileNotFoundError):  # another process may have removed it
                if time.time() - part.stat().st_mtime > SECONDS_OF_A_WRITE:
                    part.unlink()
        write_whole(path, lambda part: part.write_bytes(save(tensors)))
    except OSError as error:
        _warn_once(f'text embeddings cannot be cached in {quoted(path.parent)} ({error.strerror}): every start encodes them '
                   'anew; OVSEG_CACHE chooses another folder, OVSEG_CACHE=off none')


def _weights_digest(clip: nn.Module) -> str:
    """Digest of the text tower's tensors, computed again only where one was replaced or written to (unless by ``.data``)."""
    tensors = {name: tensor for name, tensor in (*clip.named_parameters(), *clip.named_buffers()) if _is_text(name)}
    # inference tensors do not count how often they are written to: object() equals nothing that was known
    state = [(name, tensor.data_ptr(), tensor.dtype, tensor.shape,
              object() if tensor.is_inference() else tensor._version)  # noqa: SLF001  documented by torch, without another name
             for name, tensor in tensors.items()]
    known = _weights_digests.get(clip)
    if known is None or known[0] != state:
        known = _weights_digests[clip] = state, tensors_digest(tensors)
    return known[1]


def _is_text(name: str) -> bool:
    return name.split('.')[0] != 'visual'


def _settings(module: nn.Module) -> Dict[str, Union[int, float, str]]:
    """The plain attributes of a module, which its weights do not tell: heads, epsilon, pooling, ..."""
    return {key: value for key, value in sorted(vars(module).items()) if isinstance(value, (int, float, str))}


def _digests(path: Path, names: Tensor, rows: Tensor) -> bytes:
    """Digests that a file must hold to be the one that was written under this name."""
    return f'{path.name} {tensor_digest(names)} {tensor_digest(rows)}'.encode()


def _tensor(content: bytes) -> Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


def _bytes(tensor: Tensor) -> bytes:
    return tensor.numpy().tobytes()


@cache
def _warn_once(message: str) -> None:
    print_log(message, 'current', 30)
