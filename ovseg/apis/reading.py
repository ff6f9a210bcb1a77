"""Options for the reading of images."""
import math
from numbers import Real
from typing import List, NamedTuple, Optional, Sequence

from ovseg.utils import check_integer, shown

MOST_BITS = 32


class Reading(NamedTuple):
    """Options for the reading of images.

    Args:
        tile: Side of the tiles that a large TIFF or a GeoTIFF is cut into, in pixels.
        overlap: Pixels that neighbouring tiles share at least.
        bands: The bands of a TIFF that become red, green and blue, or the one that becomes grey, counted from 1.
        bit_depth: Bits of the values in images of more than 8 bits; None scales by the range of an image's values.
        nodata: A pixel of a TIFF that has this value in all bands has no data, besides the pixels that the file declares.
    """
    tile: int = 1024
    overlap: int = 128
    bands: Optional[Sequence[int]] = None
    bit_depth: Optional[int] = None
    nodata: Optional[float] = None

    @property
    def for_rasters(self) -> List[str]:
        """The options given that only files read window by window have, as ``'nodata=0'``."""
        options = dict(bands=self.bands, nodata=self.nodata)
        return [f'{key}={shown(value)}' for key, value in options.items() if value is not None]

    def check(self, crop: Optional[int]) -> None:
        """Refuse what cannot be.

        Args:
            crop: Side of the model's windows; None for a model without windows.

        Raises:
            ValueError: a tile smaller than a window, an overlap that is not below the tile, or wrong bands, bits or nodata.
        """
        check_integer('tile', self.tile, crop or 1, meaning='the side of the windows, model.windows.crop, or more')
        check_integer('overlap', self.overlap, 0, self.tile - 1, 'less than tile')
        if self.bit_depth is not None:
            check_integer('bit_depth', self.bit_depth, 1, MOST_BITS)
        if self.nodata is not None and (isinstance(self.nodata, bool) or not isinstance(self.nodata, Real)
                                        or not math.isfinite(self.nodata)):
            raise ValueError(f'nodata={shown(self.nodata)} must be a finite number (NaN and Inf never count as data)')
        if self.bands is not None:
            if isinstance(self.bands, str) or not isinstance(self.bands, Sequence) or len(self.bands) not in (1, 3):
                raise ValueError(f'bands={shown(self.bands)} must be one band, for grey, or three, for red, green and blue')
            for band in self.bands:
                check_integer('bands', band, 1)
