"""The first step of a segmentor whose result for an image is not finite."""
from typing import TYPE_CHECKING, Iterator, Tuple

import torch
from torch import Tensor

from ovseg.inference.windows import WindowLayout
from ovseg.models.dense_features import DenseFeatures
from ovseg.models.post_processors import PostProcessorChain

if TYPE_CHECKING:
    from ovseg.models.segmentors.clip_segmentor import CLIPSegmentor

OVERFLOW = "; float16 ends at 65504: if it has overflowed, set precision='bf16' or precision='fp32'"


@torch.no_grad()
def explain_nonfinite(segmentor: 'CLIPSegmentor', image: Tensor) -> str:
    """One clause that names what is not finite: the image, a weight of the image encoder, or the output of a module.

    The image goes through the segmentor a second time, step by step.

    Args:
        segmentor: The model.
        image: ``(3, H, W)``, as ``CLIPSegmentor.predict`` has taken it.
    """
    if not image.isfinite().all():
        return "the network's input is not finite: the image or its normalisation has NaN or Inf"
    encoder = segmentor.image_encoder
    hint = OVERFLOW if encoder.visual.conv1.weight.dtype == torch.float16 else ''
    for name, weight in encoder.named_parameters():
        if not weight.isfinite().all():
            return f'the weight {name} of the image encoder is not finite{hint}'
    layout = WindowLayout.plan((image.shape[1], image.shape[2]), segmentor.slide_crop, segmentor.slide_stride,
                               encoder.patch_size, segmentor.pad_mode)
    windows = layout.cut(image)
    for batch in windows.split(segmentor.windows_per_pass([windows])):
        for step, features in _steps(segmentor, batch):
            if not _is_finite(features):
                return f'the output of {step} is not finite{hint}'
    return f'the score of the patches is not finite{hint}'


def _steps(segmentor: 'CLIPSegmentor', windows: Tensor) -> Iterator[Tuple[str, DenseFeatures]]:
    """Name and output of every step of ``CLIPSegmentor.extract_feat``."""
    encoder, chain = segmentor.image_encoder, segmentor.post_processors
    features = encoder.tokens(windows, with_attention=chain.needs_attention)
    yield 'the image encoder', features
    for stage in ('tokens', 'embeddings'):
        if stage == 'embeddings':
            features = encoder.project(features)
            yield 'the projection', features
        for module in chain.modules:
            if module.stage == stage:
                features = PostProcessorChain([module])(features, stage)
                yield f'post-processor {type(module).__name__}', features


def _is_finite(features: DenseFeatures) -> bool:
    """Whether all lengths are finite; that of a vector with a NaN or Inf is not, nor one that overflows float32."""
    lengths = [x.float().norm(dim=-1) for x in (features.patches, features.cls_token)]
    if features.attn is not None:
        lengths.append(features.attn)
    return all(bool(length.isfinite().all()) for length in lengths)
