"""The 22 data sets of MESS, as its toolkit prepares them."""
from typing import Tuple

from ovseg.sets.row import Row

MESS: Tuple[Row, ...] = ()
