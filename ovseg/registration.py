"""Registration of everything of ovseg in the registries of mmseg and in its own: importing this module does it."""
import io
from contextlib import redirect_stdout

from ovseg.compat import check_dependencies, mmcv_operators

check_dependencies()
# onedl-mmsegmentation prints that an optional package of its own is missing; stdout belongs to the program that imports ovseg
with mmcv_operators(), redirect_stdout(io.StringIO()):
    import mmseg.datasets
    import mmseg.models  # noqa: F401

from ovseg import datasets, engine, evaluation, models  # noqa: E402, F401
