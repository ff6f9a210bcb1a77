"""The weights of a TorchScript archive (``torch.jit.save``), without its code.

``torch.jit.load`` runs the methods ``__setstate__`` of an archive. Here its code is only searched for the lists in which each
module names its weights.
"""
import re
from functools import cache
from typing import Any, Callable, Dict, List, Optional, Tuple

from ovseg.models.towers.pickles import Instance

MOST_NAMES = 100_000
LONGEST_NAME = 1000
_CLASS = re.compile(r'^class (\w+)(\(Module\))?:\n(.*?)^(?!  |\n)', re.MULTILINE | re.DOTALL)  # and its body, which is indented


def is_script(tree: Any) -> bool:
    """Return True if the tree of an archive's pickle is a module of TorchScript."""
    return isinstance(tree, Instance) and tree.class_name.startswith('__torch__')


def named_weights(root: Instance, read_code: Callable[[str], str]) -> Dict[str, Any]:
    """Parameters and buffers by their path in the tree of modules, as in ``torch.jit.load(...).state_dict()``.

    Args:
        root: The module that the archive's pickle describes.
        read_code: Returns the text of a file of the archive, such as ``'code/__torch__/torch/nn/modules/linear.py'``.

    Raises:
        ValueError: the code of a module is missing or restores its weights itself (``__setstate__``), or there are too many
            modules, attributes or classes.
    """
    @cache
    def classes_in(file: str) -> Dict[str, Tuple[Optional[str], str]]:
        return _classes(read_code(file))

    @cache
    def names_in(file: str, name: str) -> Optional[List[str]]:
        return _declared_weights(classes_in(file), name)

    weights: Dict[str, Any] = {}
    waiting, visited = [('', root)], 0
    while waiting:
        prefix, module = waiting.pop()
        class_module, _, class_name = module.class_name.rpartition(' ')
        names = names_in(f'code/{class_module.replace(".", "/")}.py', class_name)
        if names is None:  # an object that is not a module
            continue
        if type(module.state) is not dict:
            raise ValueError(f'the module {prefix!r} has no attributes')
        visited += len(names) + len(module.state)
        if visited > MOST_NAMES or any(len(f'{prefix}{name}') > LONGEST_NAME for name in module.state):
            raise ValueError(f'it has more than {MOST_NAMES} modules and attributes, modules that contain themselves, or a '
                             f'name of more than {LONGEST_NAME} characters')
        weights.update({prefix + name: module.state[name] for name in names if module.state[name] is not None})
        children = [(f'{prefix}{name}.', child) for name, child in module.state.items() if is_script(child)]
        waiting += reversed(children)
    return weights


def _classes(code: str) -> Dict[str, Tuple[Optional[str], str]]:
    """Base, ``'(Module)'`` or None, and body of each class of a file by its name. Of two of one name, the first is used."""
    classes: Dict[str, Tuple[Optional[str], str]] = {}
    for found in _CLASS.finditer(code):
        name, base, body = found.groups()
        classes.setdefault(name, (base, body))
        if len(classes) > MOST_NAMES:
            raise ValueError(f'its code has more than {MOST_NAMES} classes')
    return classes


def _declared_weights(classes: Dict[str, Tuple[Optional[str], str]], name: str) -> Optional[List[str]]:
    """Names of the parameters and buffers of the class ``name``; None for a class that is not a module."""
    if name not in classes:
        raise ValueError(f'its code does not have the class {name!r}')
    is_module, body = classes[name]
    if not is_module:
        return None
    if re.search(r'^  def __setstate__\(', body, re.MULTILINE):
        raise ValueError(f'its module {name!r} restores its weights by code of its own (__setstate__), which is not executed')
    lists = [re.search(rf'^  __{kind}__ = \[(.*)\]$', body, re.MULTILINE) for kind in ('parameters', 'buffers')]
    return [quoted for names in lists if names for quoted in re.findall(r'"([^"]*)"', names.group(1))]
