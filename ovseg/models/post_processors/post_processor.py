"""The interface of the modules of the chain."""
from abc import ABC, abstractmethod
from typing import Callable, Optional, Tuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ovseg.inference.windows import WindowLayout
from ovseg.models.dense_features import DenseFeatures
from ovseg.models.guides.guide import Guide
from ovseg.models.patch_scores import PatchScores
from ovseg.models.towers.image_tower import ImageTower
from ovseg.models.window_batch import GuideFeatures

STAGES = ('tokens', 'embeddings', 'scores')  # in the order of an image's way through a model


class PostProcessor(ABC):
    """A training-free module that cleans dense features.

    Attributes:
        stage: ``'tokens'`` for a module that works in front of CLIP's final LayerNorm and projection (width D),
            ``'embeddings'`` for one that works behind them (width E), ``'scores'`` for a ``ScoreProcessor``.
        needs_attention: Whether ``features.attn`` must be there.
        needs_cls: Whether ``features.cls_token`` must be there.
    """

    stage: str
    needs_attention: bool = False
    needs_cls: bool = False

    @abstractmethod
    def __call__(self, features: DenseFeatures) -> DenseFeatures:
        """New features of the same grid and shapes; the given ones, and the tensors in them, are not written to."""


class ScoreProcessor(PostProcessor):
    """A training-free module that works on the scores of all patches of an image, behind the product with the text embeddings.

    Attributes:
        guide: The guide whose features it gets, see ``build_guide``; None for none.
    """

    stage = 'scores'
    guide: Optional[Guide] = None

    def check(self, tower: ImageTower, patch_size: Tuple[float, float]) -> None:
        """Refuse scores of patches that the module does not work with, before weights are read.

        Args:
            tower: The CLIP's image tower, which has no weights yet.
            patch_size: Height and width in pixels of the patches that have scores.

        Raises:
            ValueError: names the module and what is allowed.
        """

    @abstractmethod
    def __call__(self, scores: PatchScores) -> PatchScores:  # type: ignore[override]
        """New scores of the same shape; the given ones are not written to."""


class TextwiseProcessor(ScoreProcessor):
    """A score processor that works on the scores of each text alone, so that models hold those of a few texts at a time.

    It must give finite scores where it is given finite ones.
    """

    @abstractmethod
    def prepare(self, layout: WindowLayout, guide: Optional[GuideFeatures]) -> Callable[[Tensor], Tensor]:
        """The function from scores ``(windows, N, q)`` of any texts to new ones of the same shape.

        Args:
            layout: See ``PatchScores``.
            guide: See ``PatchScores``.
        """

    def __call__(self, scores: PatchScores) -> PatchScores:  # type: ignore[override]
        """See ``ScoreProcessor``."""
        return scores.replace(scores=self.prepare(scores.layout, scores.guide)(scores.scores))


def attention_of(features: DenseFeatures, module: PostProcessor) -> Tensor:
    """``features.attn``, for a module that cannot do without.

    Raises:
        ValueError: the encoder gave none.
    """
    if features.attn is None:
        raise ValueError(f'{type(module).__name__} needs the attention of the encoder, and the features hold none: '
                         'compute them by encoder.tokens(tower, batch, with_attention=True)')
    return features.attn


def cls_token_of(features: DenseFeatures, module: PostProcessor) -> Tensor:
    """``features.cls_token``, for a module that cannot do without.

    Raises:
        ValueError: the encoder gave none.
    """
    if features.cls_token is None:
        raise ValueError(f'{type(module).__name__} needs the CLS token of the encoder, and the features hold none')
    return features.cls_token


def guide_of(guide: Optional[GuideFeatures], module: ScoreProcessor) -> GuideFeatures:
    """``guide``, for a module that cannot do without.

    Raises:
        ValueError: there is none.
    """
    if guide is None:
        raise ValueError(f'{type(module).__name__} needs the features of its guide, and the scores hold none')
    return guide


def remove_direction(x: Tensor, amount: Tensor, direction: Tensor, normalize: bool) -> Tensor:
    """``x - amount · direction``, in float32 inside.

    Args:
        x: ``(B, N, E)``.
        amount: ``(B, N, 1)``.
        direction: ``(B, E)``.
        normalize: Divide the direction by its length.
    """
    direction = direction.float().unsqueeze(1)
    if normalize:
        direction = F.normalize(direction, dim=-1)
    return (x.float() - amount * direction).to(x.dtype)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine similarities ``(B, N, M)`` in float32 of ``a (B, N, C)`` and ``b (B, M, C)``; 0 for zero vectors."""
    unit_a, unit_b = (F.normalize(x.float(), dim=-1) for x in (a, b))
    return torch.matmul(unit_a, unit_b.transpose(-2, -1))
