"""Several segmentors that share one encoder, and what it has computed."""
from typing import Any, Callable, List, Sequence, Tuple

import torch
from mmengine.model import BaseModel
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from ovseg.ablation.settings import AFTER_ENCODER, Setting
from ovseg.models.dense_features import DenseFeatures
from ovseg.models.encoders import tiny_clip
from ovseg.models.segmentors import CLIPSegmentor

WINDOW_KEYS = ('type', 'slide_crop', 'slide_stride', 'pad_mode', 'window_batch_size')


class SharedTokens:
    """``CLIPImageEncoder.tokens`` that computes once what several segmentors ask for, until it is told to forget.

    Args:
        tokens: The encoder's own.
        with_attention: Whether any of the segmentors needs the attention.
    """

    def __init__(self, tokens: Callable[..., DenseFeatures], with_attention: bool) -> None:
        self.tokens, self.with_attention = tokens, with_attention
        self.known: List[Tuple[Tensor, DenseFeatures]] = []

    def forget(self) -> None:
        """Free what belongs to the images so far."""
        self.known.clear()

    def __call__(self, images: Tensor, with_attention: bool = False) -> DenseFeatures:
        """As ``CLIPImageEncoder.tokens``; the attention is there for those who ask for it."""
        features = next((features for windows, features in self.known if _equal(windows, images)), None)
        if features is None:
            features = self.tokens(images, with_attention=self.with_attention)
            self.known.append((images, features))
        return features if with_attention else features.replace(attn=None)


class SettingsModel(BaseModel):
    """The segmentors of settings with one ``encoder_digest``, run side by side on the same images.

    Args:
        settings: At least one. The encoder of the first serves all; the others are built around the embedded tiny CLIP, which
            is small, and then given that encoder.
    """

    segmentors: Sequence[CLIPSegmentor]

    def __init__(self, settings: Sequence[Setting]) -> None:
        leader: CLIPSegmentor = MODELS.build(settings[0].cfg.model)
        super().__init__(leader.data_preprocessor)
        self.segmentors = nn.ModuleList([leader, *map(_around_tiny_clip, settings[1:])])  # type: ignore[assignment]
        for segmentor in self.segmentors:
            segmentor.image_encoder, segmentor.text_encoder = leader.image_encoder, leader.text_encoder
        needed = any(segmentor.post_processors.needs_attention for segmentor in self.segmentors)
        self.shared = SharedTokens(leader.image_encoder.tokens, needed)
        leader.image_encoder.tokens = self.shared  # type: ignore[method-assign]

    def forward(self, inputs: Any, data_samples: List[SegDataSample], mode: str = 'predict') -> List[List[SegDataSample]]:
        """Per setting what its ``CLIPSegmentor.predict`` returns, whatever ``mode``."""
        self.shared.forget()
        return [segmentor.predict(inputs, [sample.new() for sample in data_samples]) for segmentor in self.segmentors]


def _around_tiny_clip(setting: Setting) -> CLIPSegmentor:
    kept = {key: value for key, value in setting.cfg.model.items() if key in AFTER_ENCODER or key in WINDOW_KEYS}
    return MODELS.build(dict(kept, clip_model=tiny_clip.MODEL_NAME, pretrained='embedded'))


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a, b)
