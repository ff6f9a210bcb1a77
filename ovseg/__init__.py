"""ovseg: training-free open-vocabulary semantic segmentation, an MMSegmentation plugin.

Importing it registers everything; a config needs ``custom_imports=dict(imports=['ovseg'])``. Only the console command ``ovseg``
and ``python -m ovseg`` do so later, for the commands that need it, because it takes seconds.
"""
import sys
from pathlib import Path

from ovseg import launch  # noqa: F401  before anything that takes time, because it notes the parent process
from ovseg.resources import config_path
from ovseg.sets import dataset_config, protocol
from ovseg.version import __version__

__all__ = ['__version__', 'config_path', 'dataset_config', 'protocol']


def _is_program() -> bool:
    """True in the process of the console command or of ``python -m ovseg``."""
    # The script that pip installs is the file bin/ovseg. A process that it starts by multiprocessing has no main file yet.
    if Path(getattr(sys.modules['__main__'], '__file__', None) or '').name in ('ovseg', 'ovseg.exe'):
        return True
    # While Python looks for the module of -m, that stands in place of its file. Python 3.9 does not tell which module it is.
    return sys.argv[:1] == ['-m'] and getattr(sys, 'orig_argv', sys.argv)[-len(sys.argv)] == 'ovseg'


if not _is_program():
    from ovseg import registration  # noqa: F401
