"""Images to the encoder's input."""
import math
from typing import Any, Dict, Mapping, Optional, Sequence

from mmengine.model import ImgDataPreprocessor
from mmseg.models import SegDataPreProcessor
from mmseg.registry import MODELS
from torch import nn

from ovseg.models.encoders.loading import LoadedCLIP
from ovseg.utils import check_number


@MODELS.register_module()
class OVSegDataPreProcessor(SegDataPreProcessor):
    """mmseg's normalisation and channel order for a batch of images of different sizes, which it keeps as a list.

    Args:
        mean: Per channel, None for no normalisation.
        std: Per channel.
        bgr_to_rgb: Reverse the channels.

    Raises:
        ValueError: a mean that is not finite, or a std that is not positive.
    """

    def __init__(self, mean: Optional[Sequence[float]] = None, std: Optional[Sequence[float]] = None,
                 bgr_to_rgb: bool = False) -> None:
        for value in mean or ():
            check_number('data_preprocessor.mean', value, -math.inf)
        for value in std or ():
            check_number('data_preprocessor.std', value, above=True)
        super().__init__(mean, std, bgr_to_rgb=bgr_to_rgb)
        self._non_blocking = True  # copies from pinned memory make the CPU wait for nothing

    def forward(self, data: Dict[str, Any], training: bool = False) -> Dict[str, Any]:
        """See ``SegDataPreProcessor``; ``inputs`` of the result is a list of ``(3, H, W)`` float images."""
        data = self.cast_data(data)
        images = [image.flip(0) if self.channel_conversion else image for image in data['inputs']]
        images = [image.float() for image in images]
        if self._enable_normalize:
            images = [(image - self.mean) / self.std for image in images]
        return dict(inputs=images, data_samples=data.get('data_samples'))


def build_data_preprocessor(clip: LoadedCLIP, cfg: Optional[Mapping[str, Any]] = None) -> SegDataPreProcessor:
    """What ``cfg`` says, or else RGB from mmcv's BGR, normalised as the weights of ``clip`` want it."""
    return MODELS.build(cfg or dict(type='OVSegDataPreProcessor', bgr_to_rgb=True, mean=[255 * value for value in clip.mean],
                                    std=[255 * value for value in clip.std]))


def check_no_padding(preprocessor: nn.Module) -> None:
    """Refuse a data preprocessor that pads images in testing: the label map of the padded image would be resized to
    ``ori_shape``, and every label moved.

    Raises:
        ValueError: names the key of the config.
    """
    advice = 'which moves labels; windows are padded as pad_mode says'
    if getattr(preprocessor, 'test_cfg', None):
        raise ValueError(f'data_preprocessor.test_cfg={preprocessor.test_cfg!r} pads images, {advice}: leave test_cfg out')
    if isinstance(preprocessor, ImgDataPreprocessor):
        raise ValueError(f'data_preprocessor.type={type(preprocessor).__name__!r} pads the images of a batch to one size, '
                         f"{advice}: use 'OVSegDataPreProcessor'")
