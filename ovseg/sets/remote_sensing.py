"""The 17 remote-sensing data sets of SegEarth-OV, in its layouts and its protocol."""
from typing import Tuple

from ovseg.sets.row import Row

REMOTE_SENSING: Tuple[Row, ...] = ()
