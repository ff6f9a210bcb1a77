"""Checkpoints that write a file where their code runs: ``EVIL[name](path, target, state)`` writes one with ``state`` in it."""
import io
import os
import pickle
import tarfile
import zipfile
from collections import OrderedDict
from typing import Tuple

import torch
from torch import Tensor, nn


class Reduced:
    """Unpickles to what ``function(*arguments)`` returns."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


class Built:
    """Unpickles to an object whose attributes come from a call, as BUILD sets them."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return OrderedDict, (), {'_metadata': trap(self.target)}


class Script(nn.Module):
    """Loading it with ``torch.jit.load`` writes the file ``'TARGET'``."""

    def __init__(self):
        super().__init__()
        self.register_buffer('scale', torch.ones(3))

    @torch.jit.export
    def __getstate__(self) -> Tuple[Tensor, bool]:
        return self.scale, self.training

    @torch.jit.export
    def __setstate__(self, state: Tuple[Tensor, bool]) -> None:
        self.scale = state[0]
        self.training = state[1]
        torch.save(self.scale, 'TARGET')


def trap(target):
    return Reduced(open, str(target), 'w')


def rebuilt(target):
    """A tensor whose storage comes from a call."""
    return Reduced(torch._utils._rebuild_tensor_v2, trap(target), 0, (3,), (1,), False, OrderedDict())


def nested(target):
    """Result of another ``torch.load``, of a pickle that is executed."""
    inner = io.BytesIO()
    torch.save(trap(target), inner)
    return Reduced(torch.storage._load_from_bytes, inner.getvalue())


def with_extra(make, **options):
    def write(path, target, state):
        torch.save({**state, 'extra': make(target)}, path, **options)
    return write


def as_tar(path, target, state):
    """As torch before 0.1.10 wrote them."""
    with tarfile.open(path, 'w', format=tarfile.PAX_FORMAT) as archive:
        for name in ('storages', 'tensors', 'pickle'):
            content = pickle.dumps(trap(target), 2)
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def as_pickle(path, target, state):
    path.write_bytes(pickle.dumps(dict(extra=trap(target)), 2))


def as_script(path, target, state):
    """A TorchScript archive; its target is a file name in place of ``'TARGET'``, which its code holds."""
    saved = io.BytesIO()
    torch.jit.save(torch.jit.script(Script()), saved)
    with zipfile.ZipFile(saved) as archive, zipfile.ZipFile(path, 'w') as changed:
        for entry in archive.infolist():
            content = archive.read(entry)
            if entry.filename.endswith('.py'):
                content = content.replace(b'"TARGET"', f'"{target}"'.encode())
            changed.writestr(entry, content)


EVIL = dict(
    zip=with_extra(trap), legacy=with_extra(trap, _use_new_zipfile_serialization=False),
    later_protocol=with_extra(trap, pickle_protocol=4),
    shell=with_extra(lambda target: Reduced(os.system, f'touch {target}')),
    tensor=with_extra(rebuilt), attribute=with_extra(Built), nested=with_extra(nested),
    parameter=with_extra(lambda target: Reduced(torch._utils._rebuild_parameter, trap(target), True, OrderedDict())),
    tar=as_tar, pickle=as_pickle, script=as_script)
