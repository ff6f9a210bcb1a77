"""Self-attention enhancement: strengthen patches that attend too little to themselves."""
from typing import Dict

from mmengine.logging import print_log
from torch import Tensor

from ovseg.models.dense_features import DenseFeatures
from ovseg.models.post_processors.post_processor import PostProcessor, attention_of, cls_token_of
from ovseg.registry import POST_PROCESSORS
from ovseg.utils import check_choice, check_number

MODES = ('feature', 'attention')


def self_attention_gain(attn: Tensor, strength: float, threshold: float) -> Tensor:
    """``g_i = strength · max(0, threshold - attn_ii)`` of the patches: ``(B, N)`` float32 from ``attn (B, 1+N, 1+N)``."""
    return strength * (threshold - _patch_diagonal(attn)).clamp(min=0)


def enhance_features(patches: Tensor, gain: Tensor) -> Tensor:
    """``(1 + g_i) · x_i`` for ``patches (B, N, D)`` and ``gain (B, N)``."""
    return (patches.float() * (1 + gain).unsqueeze(-1)).to(patches.dtype)


def enhance_attention(patches: Tensor, cls_token: Tensor, attn: Tensor, gain: Tensor) -> Tensor:
    """``Σ_j attn'_ij · x_j`` over CLS and patches, where ``attn'`` is ``attn`` with ``gain`` on its diagonal, rows
    summing to 1.

    Args:
        patches: ``(B, N, D)``.
        cls_token: ``(B, D)``.
        attn: ``(B, 1+N, 1+N)``, rows sum to 1.
        gain: ``(B, N)``.

    Returns:
        ``(B, N, D)`` in the dtype of ``patches``.
    """
    rows, gain = attn[:, 1:].float(), gain.unsqueeze(-1)
    mixed = rows[..., :1] * cls_token.float().unsqueeze(1) + rows[..., 1:] @ patches.float() + gain * patches.float()
    return (mixed / (rows.sum(dim=-1, keepdim=True) + gain)).to(patches.dtype)


@POST_PROCESSORS.register_module()
class SelfAttnEnhancement(PostProcessor):
    """Raises patches whose attention to themselves is under a threshold.

    Args:
        enhancement_strength: Not negative; 0 does nothing.
        min_self_attn_threshold: Patches that attend to themselves less than this are enhanced; in [0, 1].
        mode: ``'feature'`` scales the patch, ``'attention'`` averages it anew with a stronger diagonal.

    Note:
        LayerNorm and cosine scores do not see a patch's length, so ``'feature'`` mode alone leaves all labels as they
        are. It acts through the neighbour weights and the decontamination of outlier suppression.
    """

    stage = 'tokens'
    needs_attention = True
    needs_cls = True

    def __init__(self, enhancement_strength: float = 0.1, min_self_attn_threshold: float = 0.15,
                 mode: str = 'feature') -> None:
        self.strength = check_number('SelfAttnEnhancement enhancement_strength', enhancement_strength, 0)
        self.threshold = check_number('SelfAttnEnhancement min_self_attn_threshold', min_self_attn_threshold, 0, 1)
        self.mode = check_choice('SelfAttnEnhancement mode', mode, MODES)
        print_log(f'[Self-Attention Enhancement] Enabled with strength={enhancement_strength}, '
                  f'threshold={min_self_attn_threshold}, mode={mode}', 'current')

    def __call__(self, features: DenseFeatures) -> DenseFeatures:
        """See ``PostProcessor``."""
        attn = attention_of(features, self)
        if self.strength == 0:
            return features
        gain = self_attention_gain(attn, self.strength, self.threshold)
        if self.mode == 'feature':
            return features.replace(patches=enhance_features(features.patches, gain))
        return features.replace(patches=enhance_attention(features.patches, cls_token_of(features, self), attn, gain))

    def get_self_attention_stats(self, attn: Tensor) -> Dict[str, float]:
        """``mean``, ``std``, ``min``, ``max`` of the patches' attention to themselves, and ``below_threshold``, the share
        of patches under the threshold, over all windows of ``attn (B, 1+N, 1+N)``.
        """
        diagonal = _patch_diagonal(attn)
        values = dict(mean=diagonal.mean(), std=diagonal.std(correction=0), min=diagonal.min(), max=diagonal.max(),
                      below_threshold=(diagonal < self.threshold).float().mean())
        return {key: value.item() for key, value in values.items()}


def _patch_diagonal(attn: Tensor) -> Tensor:
    return attn.diagonal(dim1=-2, dim2=-1)[:, 1:].float()
