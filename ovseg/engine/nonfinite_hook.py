"""Results that are not finite, counted."""
from typing import Any, Dict, Optional, Sequence

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS

from ovseg.evaluation.undefined_pixels import warn_of_undefined


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
