"""Colours of the classes."""
from typing import List


def voc_colours(start: int, stop: int) -> List[List[int]]:
    """PASCAL VOC's colours of the labels ``start`` … ``stop - 1``: RGB in 0 … 255, all different.

    The bits of a label are dealt to red, green and blue in turn, each from its highest bit down; label 0 is black.
    """
    return [[sum((label >> (3 * step + channel) & 1) << (7 - step) for step in range(8)) for channel in range(3)]
            for label in range(start, stop)]
