"""Pickles of tensors, read without importing, looking up or calling anything that they name.

``parse`` turns a pickle into a tree of plain containers in which everything else is only described; ``rebuild`` makes tensors
of the descriptions that it knows and refuses the others.
"""
import math
import pickletools
from collections import Counter
from pickle import UnpicklingError
from typing import Any, BinaryIO, Callable, Dict, List, NamedTuple, Tuple

import torch
from torch import Tensor

STORAGES = {f'torch {name}Storage': dtype for name, dtype in dict(
    Half=torch.float16, BFloat16=torch.bfloat16, Float=torch.float32, Double=torch.float64, Byte=torch.uint8, Char=torch.int8,
    Short=torch.int16, Int=torch.int32, Long=torch.int64, Bool=torch.bool).items()}
MOST_DIMENSIONS = 64  # of a tensor that torch can compute with
MOST_VIEWS = 32  # total size of the tensors, views of shared memory included, as a multiple of the size of the file


class Global(NamedTuple):
    """The name ``'module name'`` of a class or a function."""
    name: str


class Call(NamedTuple):
    """A call that the pickle asks for."""
    function: str
    arguments: Tuple[Any, ...]


class Instance:
    """An instance of the class ``'module name'`` that the pickle asks for, and the state that it would be given."""

    def __init__(self, class_name: str) -> None:
        self.class_name = class_name
        self.state: Any = None


class Storage(NamedTuple):
    """The name, type and number of elements of a tensor's memory, whose bytes lie outside of the pickle."""
    key: str
    dtype: torch.dtype
    numel: int


class Pickle(NamedTuple):
    """The tree of a pickle, and the storages in it by their keys."""
    tree: Any
    storages: Dict[str, Storage]


def parse(file: BinaryIO) -> Pickle:
    """Parse one pickle. Only the instructions that torch writes are allowed.

    Args:
        file: Positioned at the start of the pickle; afterwards at its end.

    Raises:
        ValueError, LookupError, TypeError, UnpicklingError: the pickle is broken or has other instructions.
    """
    machine = _Machine()
    for instruction, argument, _ in pickletools.genops(file):
        if instruction.name not in _INSTRUCTIONS:
            raise UnpicklingError(f'its pickle has the instruction {instruction.name}, which tensors do not need')
        _INSTRUCTIONS[instruction.name](machine, argument)
    tree, = machine.stack
    return Pickle(tree, machine.storages)


def rebuild(tree: Any, read: Callable[[Storage], Tensor], available: int) -> Any:
    """A copy of ``tree`` in which each description of a tensor is replaced by that tensor.

    Args:
        tree: Dicts, lists and tuples of strings, numbers, None and ``Call``.
        read: Returns the elements of a storage as a 1-D tensor.
        available: Size of the file in bytes.

    Raises:
        UnpicklingError: ``tree`` holds anything else, or a tensor that goes beyond its storage.
    """
    return _Rebuilder(read, MOST_VIEWS * available).rebuild(tree)


class _Machine:
    """The stack machine that executes the instructions of a pickle."""

    def __init__(self) -> None:
        self.stack: List[Any] = []
        self.marks: List[int] = []
        self.memo: Dict[int, Any] = {}
        self.storages: Dict[str, Storage] = {}

    def push(self, thing: Any) -> None:
        self.stack.append(thing)

    def mark(self, _: None) -> None:
        self.marks.append(len(self.stack))

    def items(self) -> List[Any]:
        """Remove and return the items above the last mark of the stack."""
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def tuple_of(self, length: int) -> None:
        if length > len(self.stack):
            raise UnpicklingError('its pickle takes more items off the stack than there are')
        start = len(self.stack) - length
        self.stack[start:] = [tuple(self.stack[start:])]

    def append(self, items: List[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise UnpicklingError('its pickle appends to an object that is not a list')
        self.stack[-1].extend(items)

    def set_items(self, items: List[Any]) -> None:
        keys, values = items[::2], items[1::2]
        if type(self.stack[-1]) is not dict or len(keys) != len(values):
            raise UnpicklingError('its pickle sets items of an object that is not a dict')
        if not all(isinstance(key, (str, int)) for key in keys):  # the hash of nested tuples could exhaust the C stack
            raise UnpicklingError('its pickle has a dict whose keys are neither strings nor integers')
        self.stack[-1].update(zip(keys, values))

    def storage(self, _: None) -> None:
        kind, type_, key, _, numel, *view = self.stack.pop()
        if (kind != 'storage' or not isinstance(type_, Global) or type_.name not in STORAGES or not isinstance(key, str)
                or not isinstance(numel, int) or any(part is not None for part in view)):
            raise UnpicklingError('its pickle refers to a storage of an unknown kind')
        storage = Storage(key, STORAGES[type_.name], numel)
        if self.storages.setdefault(key, storage) != storage:
            raise UnpicklingError(f'its pickle describes the storage {key!r} in two ways')
        self.push(storage)

    def call(self, _: None) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Global) or type(arguments) is not tuple:
            raise UnpicklingError('its pickle calls an object that is not a function')
        self.push({} if function.name == 'collections OrderedDict' and not arguments else Call(function.name, arguments))

    def instance(self, _: None) -> None:
        arguments, class_ = self.stack.pop(), self.stack.pop()
        if not isinstance(class_, Global) or arguments != ():
            raise UnpicklingError('its pickle makes an instance of an object that is not a class')
        self.push(Instance(class_.name))

    def build(self, _: None) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Instance):
            target.state = state
        elif type(target) is not dict:  # the attributes of an OrderedDict hold no tensors
            raise UnpicklingError('its pickle sets the state of an object that has none')


# without LONG4: the work with integers of more than 255 bytes, which a pickle can repeat, has no useful limit
_INSTRUCTIONS: Dict[str, Callable[[_Machine, Any], None]] = {
    'PROTO': lambda machine, version: None,
    'STOP': lambda machine, _: None,
    'NONE': _Machine.push,
    'NEWTRUE': lambda machine, _: machine.push(True),
    'NEWFALSE': lambda machine, _: machine.push(False),
    **dict.fromkeys(['BININT', 'BININT1', 'BININT2', 'LONG1', 'BINFLOAT', 'BINUNICODE'], _Machine.push),
    'EMPTY_DICT': lambda machine, _: machine.push({}),
    'EMPTY_LIST': lambda machine, _: machine.push([]),
    'EMPTY_TUPLE': lambda machine, _: machine.push(()),
    'MARK': _Machine.mark,
    'TUPLE': lambda machine, _: machine.push(tuple(machine.items())),
    'TUPLE1': lambda machine, _: machine.tuple_of(1),
    'TUPLE2': lambda machine, _: machine.tuple_of(2),
    'TUPLE3': lambda machine, _: machine.tuple_of(3),
    'APPEND': lambda machine, _: machine.append([machine.stack.pop()]),
    'APPENDS': lambda machine, _: machine.append(machine.items()),
    'SETITEM': lambda machine, _: machine.set_items([machine.stack.pop(-2), machine.stack.pop()]),
    'SETITEMS': lambda machine, _: machine.set_items(machine.items()),
    **dict.fromkeys(['BINPUT', 'LONG_BINPUT'], _Machine.put),
    **dict.fromkeys(['BINGET', 'LONG_BINGET'], lambda machine, index: machine.push(machine.memo[index])),
    'GLOBAL': lambda machine, name: machine.push(Global(name)),
    'BINPERSID': _Machine.storage,
    'REDUCE': _Machine.call,
    'NEWOBJ': _Machine.instance,
    'BUILD': _Machine.build,
}


class _Rebuilder:
    """Implementation of ``rebuild``; ``left`` is the number of bytes that further tensors may have."""

    def __init__(self, read: Callable[[Storage], Tensor], left: int) -> None:
        self.read = read
        self.left = left
        self.storages: Dict[str, Tensor] = {}
        self.done: Dict[int, Any] = {}  # by id, so that shared objects are rebuilt once and stay shared

    def rebuild(self, thing: Any) -> Any:
        if thing is None or isinstance(thing, (str, int, float)):
            return thing
        if id(thing) not in self.done:
            self.done[id(thing)] = self._rebuild(thing)
        return self.done[id(thing)]

    def _rebuild(self, thing: Any) -> Any:
        if type(thing) is dict:
            return {key: self.rebuild(value) for key, value in thing.items()}
        if type(thing) in (list, tuple):
            return type(thing)(self.rebuild(item) for item in thing)
        if not isinstance(thing, Call):
            name = thing.class_name if isinstance(thing, Instance) else thing.name if isinstance(thing, Global) else 'a storage'
            raise UnpicklingError(f'it holds {name!r}, and only tensors, containers, strings and numbers are read')
        if thing.function == 'torch._utils _rebuild_tensor_v2':
            return self._tensor(*thing.arguments[:4])
        if thing.function == 'torch._utils _rebuild_parameter':
            return self.rebuild(thing.arguments[0])
        if thing.function == 'collections Counter' and type(thing.arguments[0]) is dict:  # a schedule's milestones
            return Counter(thing.arguments[0])
        raise UnpicklingError(f'it calls {thing.function!r}, and nothing in a checkpoint is executed')

    def _tensor(self, storage: Storage, offset: int, size: Tuple[int, ...], stride: Tuple[int, ...]) -> Tensor:
        """A view of a storage with the given strides."""
        numbers = (offset, *size, *stride)
        if (not isinstance(storage, Storage) or len(size) != len(stride) or len(size) > MOST_DIMENSIONS
                or not all(isinstance(number, int) and 0 <= number < 2 ** 63 for number in numbers)):
            raise UnpicklingError('it describes an invalid tensor')
        numel = math.prod(size)
        last = offset + sum((length - 1) * step for length, step in zip(size, stride))
        if numel > storage.numel or (numel and last >= storage.numel):
            raise UnpicklingError(f'it describes a tensor that goes beyond its storage {storage.key!r}')
        self.left -= numel * storage.dtype.itemsize
        if self.left < 0:
            raise UnpicklingError(f'its tensors take more than {MOST_VIEWS} times the size of the file')
        if storage.key not in self.storages:
            self.storages[storage.key] = self.read(storage)
        elements = self.storages[storage.key]
        return elements.as_strided(size, stride, offset) if numel else elements.new_empty(size)
