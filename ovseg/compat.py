"""Versions ovseg runs with, and mmseg on an mmcv without compiled operators."""
import importlib.machinery
import importlib.util
import sys
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any, Callable, Iterator

from packaging.version import Version

EXTENSION = 'mmcv._ext'


def check_version(package: str, found: str, at_least: str, below: str, remedy: str) -> None:
    """Refuse a version outside [at_least, below).

    Raises:
        ImportError: names the version found, the range and the command that mends it.
    """
    if not Version(at_least) <= Version(found) < Version(below):
        raise ImportError(f'{package} {found} is installed, but ovseg needs {package} >= {at_least}, < {below}. '
                          f'Mend it with: {remedy}')


def check_dependencies() -> None:
    """Refuse versions of mmcv and mmsegmentation that do not work.

    Raises:
        ImportError: see ``check_version``; also where a package is missing.
    """
    try:
        import mmcv  # mmcv and mmcv-lite are two distributions of one module
    except ModuleNotFoundError as error:
        raise ImportError('mmcv is not installed: pip install "mmcv-lite==2.1.0"') from error
    check_version('mmcv', mmcv.__version__, '2.0.0', '2.2.0', 'pip install "mmcv-lite==2.1.0"')
    try:
        mmseg = version('mmsegmentation')
    except PackageNotFoundError as error:
        raise ImportError('mmsegmentation is not installed: pip install "mmsegmentation==1.2.2"') from error
    check_version('mmsegmentation', mmseg, '1.2.0', '1.3.0', 'pip install "mmsegmentation==1.2.2"')


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
                               'mmcv (pip uninstall mmcv-lite; pip install "mmcv>=2.0.0,<2.2.0")')
        return missing
