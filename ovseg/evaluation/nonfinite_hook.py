"""Results that are not finite, counted."""
import logging
from typing import Any, Dict, Mapping, Optional, Sequence

from mmengine.dist import all_gather_object, is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmseg.registry import HOOKS

from ovseg.utils import quoted

NAMED = 3  # images that the warning names


@HOOKS.register_module()
class NonFiniteHook(Hook):
    """Warns at the end of a test of pixels that have no class because their scores are not finite.

    It counts the ``nonfinite_pixels`` of ``CLIPSegmentor`` over all processes, and says how many pixels of how many images
    they are, and which images come first. ``LabelMapEvaluator`` does so by itself, for all label maps.
    """

    def before_test_epoch(self, runner: Runner) -> None:
        """See ``Hook``."""
        self.pixels: Dict[str, int] = {}

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Sequence[Any] = ()) -> None:
        """See ``Hook``."""
        self.pixels.update({sample.img_path: sample.nonfinite_pixels for sample in outputs if 'nonfinite_pixels' in sample})

    def after_test_epoch(self, runner: Runner, metrics: Optional[Dict[str, float]] = None) -> None:
        """See ``Hook``."""
        warn_of_undefined(self.pixels, 'their scores are not finite (NaN or Inf)')


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
