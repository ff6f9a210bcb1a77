"""The first step of a segmentor whose result for an image is not finite."""
from typing import TYPE_CHECKING, Iterator, Tuple

import torch
from torch import Tensor

from ovseg.models.dense_features import DenseFeatures
from ovseg.models.upsamplers import LinearUpsampler, UpsampledPatches, Upsampler, upsample

if TYPE_CHECKING:
    from ovseg.models.segmentors.clip_segmentor import CLIPSegmentor

OVERFLOW = "; float16 ends at 65504: if it has overflowed, set image_encoder.precision='bf16' or 'fp32'"


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
    hint = OVERFLOW if segmentor.tower.dtype == torch.float16 else ''
    for name, weight in segmentor.tower.named_parameters():
        if not weight.isfinite().all():
            return f'the weight {name} of the image tower is not finite{hint}'
    windows = segmentor.plan((image.shape[1], image.shape[2])).cut(image)
    for batch in windows.split(segmentor.windows_per_pass([windows])):
        for step, features in _steps(segmentor, batch):
            if not _is_finite(features):
                return f'the output of {step} is not finite{hint}'
    return f'the score of the patches is not finite{hint}'


def _steps(segmentor: 'CLIPSegmentor', windows: Tensor) -> Iterator[Tuple[str, DenseFeatures]]:
    """Name and output of every step of ``CLIPSegmentor.embed``."""
    batch = segmentor.batch(windows, torch.zeros_like(windows[:, 0], dtype=torch.int64))  # regions do not matter here
    features = segmentor.tokens(batch)
    yield 'the image encoder', features
    for module, left in segmentor.post_processors.steps(features, 'tokens'):
        features = left
        yield f'post-processor {type(module).__name__}', features
    features = segmentor.image_encoder.project(segmentor.tower, features)
    yield 'the projection', features
    for module, left in segmentor.post_processors.steps(features, 'embeddings'):
        features = left
        yield f'post-processor {type(module).__name__}', features
    if segmentor.upsampler is not None:
        yield f'upsampler {type(segmentor.upsampler).__name__}', _upsampled(segmentor.upsampler, features, batch.rgb)


def _upsampled(upsampler: Upsampler, features: DenseFeatures, rgb: Tensor) -> DenseFeatures:
    """The output of an upsampler; of one whose embeddings are not held, their lengths."""
    if not isinstance(upsampler, LinearUpsampler):
        return upsample(upsampler, features, rgb)
    _, lengths, *_ = UpsampledPatches.parts(upsampler, features, rgb, None)
    return features.replace(patches=lengths.flatten(1).unsqueeze(2))


def _is_finite(features: DenseFeatures) -> bool:
    """Return True if all lengths are finite; that of a vector with a NaN or Inf is not, nor one that overflows float32."""
    lengths = [x.float().norm(dim=-1) for x in (features.patches, features.cls_token) if x is not None]
    if features.attn is not None:
        lengths.append(features.attn)
    return all(bool(length.isfinite().all()) for length in lengths)
