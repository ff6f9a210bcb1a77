"""Optional packages, and errors with the command that installs one that is missing."""
import importlib
import shutil
import sys
from pathlib import Path
from typing import Any

from ovseg.resources import PACKAGE


class MissingPackageError(ImportError):
    """A package that is not installed, or in a version that does not work. The message has the command that installs it."""


def missing_package(what: str, package: str, extra: str) -> MissingPackageError:
    """Error for a package that is not installed.

    Args:
        what: Name of what needs it.
        package: Its name.
        extra: The extra of ovseg that it belongs to, e.g. ``'web'``.
    """
    return MissingPackageError(f'{what} needs {package}: {install_command(extra)}')


def needed(module: str, extra: str, what: str) -> Any:
    """Import a package of an extra.

    Args:
        module: Its name in Python.
        extra: The extra of ovseg that installs it.
        what: Name of what needs it.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise missing_package(what, module.split('.')[0].replace('_', '-'), extra) from error


def install_command(extra: str) -> str:
    """Command that installs the packages of an extra: from the checkout, if ovseg is in one, else by their own names.

    ovseg is on no package index, so that ``pip install "ovseg[web]"`` finds nothing.
    """
    pip = shutil.which('pip')  # it may be another environment's
    command = 'pip' if pip and Path(pip).parent == Path(sys.executable).parent else f'"{sys.executable}" -m pip'
    checkout = PACKAGE.parent
    if (checkout / 'setup.py').is_file():
        return f'{command} install -e "{"." if Path.cwd() == checkout else checkout}[{extra}]"'
    from importlib.metadata import requires

    from packaging.requirements import Requirement
    required = [Requirement(line) for line in requires('ovseg') or []]
    of_extra = [one for one in required if one.marker and one.marker.evaluate({'extra': extra})]
    if not of_extra:
        return f'there is none for Python {sys.version_info[0]}.{sys.version_info[1]}, install ovseg with a newer one'
    return f'{command} install ' + ' '.join(f'"{one.name}{one.specifier}"' for one in of_extra)
