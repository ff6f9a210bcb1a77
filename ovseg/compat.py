"""Versions ovseg runs with, and mmseg on an mmcv without compiled operators."""
import importlib.machinery
import importlib.util
import sys
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Callable, Iterator

from packaging.version import Version

from ovseg.extras import MissingPackageError

EXTENSION = 'mmcv._ext'


def check_version(package: str, found: str, at_least: str, below: str, remedy: str) -> None:
    """Refuse a version outside [at_least, below) by an ``ImportError`` with it, the range and the command that fixes it."""
    if not Version(at_least) <= Version(found) < Version(below):
        raise MissingPackageError(f'{package} {found} is installed, but ovseg needs {package} >= {at_least}, < {below}. '
                                  f'Fix it with: {remedy}')


def check_dependencies() -> None:
    """Refuse versions of mmengine, mmcv and mmseg that do not work.

    Raises:
        ImportError: see ``check_version``; also where a package is missing.
    """
    # Each module comes in two distributions (mmcv or mmcv-lite, mmengine or onedl-mmengine, mmsegmentation or
    # onedl-mmsegmentation), so the module is asked for its version, not the distribution.
    for module, at_least, below, release in (('mmengine', '0.10.4', '0.12', 'mmengine==0.10.7'),
                                             ('mmcv', '2.0.1', '2.2', 'mmcv-lite==2.1.0'),
                                             ('mmseg', '1.2.1', '1.5', 'mmsegmentation==1.2.2')):
        try:
            found = importlib.import_module(module).__version__
        except ModuleNotFoundError as error:
            raise MissingPackageError(f'{module} is not installed: pip install "{release}"') from error
        check_version(module, found, at_least, below, f'pip install "{release}"')


@contextmanager
def mmcv_operators() -> Iterator[None]:
    """Let ``mmseg.models`` be imported where mmcv has no compiled operators (mmcv-lite).

    A stand-in for ``mmcv._ext`` exists only inside this context: left in place it would make mmengine believe that full
    mmcv is installed. Each of its operators raises when it is called. With full mmcv nothing is touched.
    """
    if importlib.util.find_spec(EXTENSION) is not None:
        yield
        return
    sys.modules[EXTENSION] = _StandIn(EXTENSION)
    try:
        yield
    finally:
        del sys.modules[EXTENSION]


class _StandIn(ModuleType):
    """A module that has every operator, none of which works."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__spec__ = importlib.machinery.ModuleSpec(name, None)

    def __getattr__(self, operator: str) -> Callable[..., Any]:
        if operator.startswith('__'):
            raise AttributeError(operator)

        def missing(*args: Any, **kwargs: Any) -> Any:
            raise RuntimeError(f'the compiled operator {operator!r} was called, but mmcv-lite has none: replace it by full '
                               'mmcv (pip uninstall mmcv-lite; pip install "mmcv>=2.0.1,<2.2")')
        return missing
