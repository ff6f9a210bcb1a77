"""The weights of a TorchScript archive (``torch.jit.save``), without its code.

``torch.jit.load`` runs the methods ``__setstate__`` of an archive. Here its code is only searched for the lists of the names of
each module's weights.
"""
import re
from functools import cache
from typing import Any, Callable, Dict, List, Optional

from ovseg.models.encoders.pickles import Instance

MOST_NAMES = 100_000
LONGEST_NAME = 1000


def is_script(tree: Any) -> bool:
    """Whether the tree of an archive's pickle is a module of TorchScript."""
    return isinstance(tree, Instance) and tree.class_name.startswith('__torch__')


def named_weights(root: Instance, read_code: Callable[[str], str]) -> Dict[str, Any]:
    """What ``torch.jit.load(...).state_dict()`` holds: parameters and buffers by their path in the tree of modules.

    Args:
        root: The module that the archive's pickle describes.
        read_code: Gives the text of a file of the archive, ``'code/__torch__/torch/nn/modules/linear.py'``.

    Raises:
        ValueError: the archive does not say what is a weight, keeps weights by code of its own, or has too many modules.
    """
    @cache
    def names_of(class_name: str) -> Optional[List[str]]:
        module, _, name = class_name.rpartition(' ')
        return _declared_weights(read_code(f'code/{module.replace(".", "/")}.py'), name)

    weights: Dict[str, Any] = {}
    waiting, met = [('', root)], 0
    while waiting:
        prefix, module = waiting.pop()
        met += 1
        if met + len(weights) > MOST_NAMES or len(prefix) > LONGEST_NAME:
            raise ValueError(f'it has more than {MOST_NAMES} modules and weights, or modules that contain themselves')
        names = names_of(module.class_name)
        if names is None:  # an object that is no module
            continue
        if type(module.state) is not dict:
            raise ValueError(f'the module {prefix!r} has no attributes')
        weights.update({prefix + name: module.state[name] for name in names if module.state[name] is not None})
        children = [(f'{prefix}{name}.', child) for name, child in module.state.items() if is_script(child)]
        waiting += reversed(children)
    return weights


def _declared_weights(code: str, name: str) -> Optional[List[str]]:
    """Names of the parameters and buffers of the class ``name``; None for a class that is no module."""
    found = re.search(rf'^class {re.escape(name)}(\(Module\))?:\n((?:  .*\n|\n)*)', code, re.MULTILINE)
    if not found:
        raise ValueError(f'its code does not have the class {name!r}')
    is_module, body = found.groups()
    if not is_module:
        return None
    if re.search(r'^  def __setstate__\(', body, re.MULTILINE):
        raise ValueError(f'its module {name!r} keeps its weights by code of its own (__setstate__), which is not executed')
    lists = [re.search(rf'^  __{kind}__ = \[(.*)\]$', body, re.MULTILINE) for kind in ('parameters', 'buffers')]
    return [quoted for names in lists if names for quoted in re.findall(r'"([^"]*)"', names.group(1))]
