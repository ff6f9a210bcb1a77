"""Pixels without a class, counted over all processes."""
import logging
from typing import Mapping

from mmengine.dist import all_gather_object, is_main_process
from mmengine.logging import print_log

from ovseg.utils import quoted

NAMED = 3  # images that the warning names


def warn_of_undefined(own: Mapping[str, int], reason: str) -> None:
    """Log how many pixels have no class, if any, in the main process for all of them. Every process must call it.

    Args:
        own: Number of such pixels by image, of the images of this process that have any.
        reason: Why they have no class.
    """
    pixels = {name: count for process in all_gather_object(own) for name, count in process.items()}
    if pixels and is_main_process():
        names = ', '.join(map(quoted, sorted(pixels)[:NAMED])) + (', …' if len(pixels) > NAMED else '')
        print_log(f'{sum(pixels.values())} pixels of {len(pixels)} images have no class, because {reason}, and count as '
                  f'errors: {names}', 'current', logging.WARNING)
