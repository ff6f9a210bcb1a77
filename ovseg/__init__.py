"""ovseg: training-free open-vocabulary semantic segmentation, an MMSegmentation plugin.

Importing it registers everything; a config needs ``custom_imports=dict(imports=['ovseg'])``.
"""
import io
from contextlib import redirect_stdout

from ovseg.compat import check_dependencies, mmcv_operators
from ovseg.version import __version__

check_dependencies()
# onedl-mmsegmentation prints that an optional package of its own is missing; stdout belongs to the program that imports ovseg
with mmcv_operators(), redirect_stdout(io.StringIO()):
    import mmseg.datasets
    import mmseg.models  # noqa: F401

from ovseg import datasets, engine, evaluation, models  # noqa: E402, F401

__all__ = ['__version__']
