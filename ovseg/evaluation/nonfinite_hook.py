"""Results that are not finite, counted."""
import logging
from typing import Any, Dict, Mapping, Optional, Sequence

from mmengine.dist import all_gather_object, is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmseg.registry import HOOKS

NAMED = 3  # images that the warning names


@HOOKS.register_module()
class NonFiniteHook(Hook):
    """Warns at the end of a test of pixels that have no class because their scores are not finite.

    It counts the ``nonfinite_pixels`` of ``CLIPSegmentor`` over all processes, and says how many pixels of how many images
    they are, and which images come first.
    """

    def before_test_epoch(self, runner: Runner) -> None:
        """See ``Hook``."""
        self.pixels: Dict[str, int] = {}

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Sequence[Any] = ()) -> None:
        """See ``Hook``."""
        self.pixels.update({sample.img_path: sample.nonfinite_pixels for sample in outputs if 'nonfinite_pixels' in sample})

    def after_test_epoch(self, runner: Runner, metrics: Optional[Dict[str, float]] = None) -> None:
        """See ``Hook``."""
        pixels = {name: count for process in all_gather_object(self.pixels) for name, count in process.items()}
        if is_main_process():
            warn_of_undefined(pixels)


def warn_of_undefined(pixels: Mapping[str, int]) -> None:
    """Log how many pixels have no class, if any; ``pixels`` has the images with such pixels and the number of them."""
    if pixels:
        names = ', '.join(sorted(pixels)[:NAMED]) + (', …' if len(pixels) > NAMED else '')
        print_log(f'{sum(pixels.values())} pixels of {len(pixels)} images have no class, because their scores are not finite '
                  f'(NaN or Inf), and count as errors: {names}', 'current', logging.WARNING)
