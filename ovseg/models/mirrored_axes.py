"""The axes along which an image was mirrored."""
from typing import Tuple

from mmseg.structures import SegDataSample


def mirrored_axes(sample: SegDataSample) -> Tuple[int, ...]:
    """Axes along which test-time augmentation has mirrored the image of ``sample``."""
    direction = sample.get('flip_direction') if sample.get('flip') else None
    return {None: (), 'horizontal': (-1,), 'vertical': (-2,), 'diagonal': (-2, -1)}[direction]
