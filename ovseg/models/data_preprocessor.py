"""Normalisation of images, the input of the encoder."""
import math
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple, Union

import torch
from mmengine.model import BaseDataPreprocessor, ImgDataPreprocessor
from mmseg.models import SegDataPreProcessor
from mmseg.registry import MODELS
from torch import Tensor, nn

from ovseg.components import named_errors
from ovseg.models.towers.loading import LoadedCLIP
from ovseg.utils import check_number, shown


@MODELS.register_module()
class OVSegDataPreProcessor(SegDataPreProcessor):
    """mmseg's normalisation and channel order for a batch of images of different sizes, which it keeps as a list.

    Args:
        mean: Per channel, None for no normalisation.
        std: Per channel, positive.
        bgr_to_rgb: Reverse the channels.

    Raises:
        ValueError: ``mean`` or ``std`` are not three finite numbers, or ``std`` is not positive.
    """

    def __init__(self, mean: Optional[Sequence[float]] = None, std: Optional[Sequence[float]] = None,
                 bgr_to_rgb: bool = False) -> None:
        for key, values in dict(mean=mean, std=std).items():
            if values is not None and (not isinstance(values, (list, tuple)) or len(values) != 3):
                raise ValueError(f'data_preprocessor: {key}={shown(values)} must be three numbers')
            for value in values or ():
                check_number(f'data_preprocessor: {key}', value, -math.inf, above=key == 'std')
        super().__init__(mean, std, bgr_to_rgb=bgr_to_rgb)
        self._reverse_channels = bgr_to_rgb  # the attribute of the base class has another name in onedl-mmsegmentation
        self._non_blocking = True  # copies from pinned memory make the CPU wait for nothing

    def forward(self, data: Dict[str, Any], training: bool = False) -> Dict[str, Any]:
        """See ``SegDataPreProcessor``; ``inputs`` of the result is a list of ``(3, H, W)`` float images."""
        data = self.cast_data(data)
        images = [image.flip(0) if self._reverse_channels else image for image in data['inputs']]
        images = [image.float() for image in images]
        if self._enable_normalize:
            images = [(image - self.mean) / self.std for image in images]
        return dict(inputs=images, data_samples=data.get('data_samples'))


def build_data_preprocessor(clip: LoadedCLIP, cfg: Union[Mapping[str, Any], BaseDataPreprocessor, None] = None
                            ) -> BaseDataPreprocessor:
    """The data preprocessor of a config; for None, RGB from mmcv's BGR, normalised as the weights of ``clip`` want it.

    Args:
        clip: The model.
        cfg: A config, or a data preprocessor, which is returned as it is.

    Raises:
        ValueError: it is no config of a data preprocessor.
    """
    if cfg is None:
        cfg = dict(type='OVSegDataPreProcessor', bgr_to_rgb=True, mean=[255 * value for value in clip.mean],
                   std=[255 * value for value in clip.std])
    if isinstance(cfg, BaseDataPreprocessor):
        return cfg
    if not isinstance(cfg, Mapping) or not cfg.get('type'):
        raise ValueError(f"data_preprocessor={shown(cfg)} must be a dict with a type, e.g. dict(type='OVSegDataPreProcessor')")
    with named_errors('data_preprocessor'):
        built = MODELS.build(cfg)
    if not isinstance(built, BaseDataPreprocessor):
        raise ValueError(f'data_preprocessor: {type(built).__name__} is none')
    return built


def mean_and_std(preprocessor: BaseDataPreprocessor) -> Tuple[Tensor, Tensor]:
    """Mean and deviation of RGB in [0, 1] that a data preprocessor normalises images by, ``(3, 1, 1)`` each."""
    mean, std = (getattr(preprocessor, name, None) for name in ('mean', 'std'))
    if mean is None or std is None:  # the network's input is in [0, 255]
        return torch.zeros(3, 1, 1), torch.full((3, 1, 1), 1 / 255)
    return mean.view(3, 1, 1) / 255, std.view(3, 1, 1) / 255


def check_no_padding(preprocessor: nn.Module) -> None:
    """Refuse a data preprocessor that pads images in testing: the label map of the padded image would be resized to
    ``ori_shape``, and every label moved.

    Raises:
        ValueError: names the key of the config.
    """
    advice = 'which moves labels; windows are padded as windows.pad_mode says'
    if getattr(preprocessor, 'test_cfg', None):
        raise ValueError(f'data_preprocessor.test_cfg={preprocessor.test_cfg!r} pads images, {advice}: leave test_cfg out')
    # in onedl-mmsegmentation SegDataPreProcessor is an ImgDataPreprocessor whose own forward does not pad
    if isinstance(preprocessor, ImgDataPreprocessor) and not isinstance(preprocessor, SegDataPreProcessor):
        raise ValueError(f'data_preprocessor.type={type(preprocessor).__name__!r} pads the images of a batch to one size, '
                         f"{advice}: use 'OVSegDataPreProcessor'")
