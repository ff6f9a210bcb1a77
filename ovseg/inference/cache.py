"""Tensors that depend on the geometry of an image only, kept for the next image of the same geometry."""
import threading
from collections import OrderedDict
from functools import wraps
from typing import Any, Callable, Iterator, Tuple, TypeVar

import torch
from torch import Tensor

CACHE_BYTES = 32 * 2 ** 20  # of the results of one function
CACHE_ENTRIES = 64
TENSOR_BYTES = 1024  # what a tensor takes besides its numbers, roughly

Result = TypeVar('Result', Tensor, Tuple[Any, ...])


def keep_recent(function: Callable[..., Result]) -> Callable[..., Result]:
    """Keep the results of a function, those used last, as long as all of them take at most ``CACHE_BYTES``.

    A result that is larger alone is not kept. Results are shared between callers and threads and must not be changed.

    Args:
        function: Maps hashable positional arguments to a tensor or a tuple, which may be nested, with tensors in it.
    """
    kept: OrderedDict[Tuple[Any, ...], Tuple[Result, int]] = OrderedDict()  # with their sizes in bytes
    lock = threading.Lock()

    @wraps(function)
    def recall(*arguments: Any) -> Result:
        with lock:
            if arguments in kept:
                kept.move_to_end(arguments)
                return kept[arguments][0]
        with torch.inference_mode(False):  # what is made for one call may be differentiated through in the next
            result = function(*arguments)
        size = sum(TENSOR_BYTES + tensor.numel() * tensor.element_size() for tensor in _tensors(result))
        with lock:
            if size <= CACHE_BYTES:
                kept[arguments] = result, size
            while len(kept) > CACHE_ENTRIES or sum(size for _, size in kept.values()) > CACHE_BYTES:
                kept.popitem(last=False)
        return result

    return recall


def _tensors(result: Any) -> Iterator[Tensor]:
    if isinstance(result, Tensor):
        yield result
    elif isinstance(result, tuple):
        for item in result:
            yield from _tensors(item)
