"""Packages of optional extras."""
import importlib
from typing import Any


def needed(module: str, extra: str, purpose: str) -> Any:
    """Import a package of an extra.

    Args:
        module: Its name in Python.
        extra: The extra of ovseg that installs it.
        purpose: Begins the error.

    Raises:
        ValueError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ValueError(f'{purpose}, which needs {module.split(".")[0].replace("_", "-")}: pip install "ovseg[{extra}]", or '
                         f'pip install -e ".[{extra}]" in a checkout') from error
