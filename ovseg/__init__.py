"""ovseg: training-free open-vocabulary semantic segmentation, an MMSegmentation plugin.

Importing it registers everything; a config needs ``custom_imports=dict(imports=['ovseg'])``.
"""
from ovseg.compat import check_dependencies, mmcv_operators
from ovseg.version import __version__

check_dependencies()
with mmcv_operators():
    import mmseg.models  # noqa: F401

from ovseg import datasets, evaluation, models  # noqa: E402, F401

__all__ = ['__version__']
