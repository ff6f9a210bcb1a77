"""The component that turns patch features into labels or probabilities."""
import math
from dataclasses import dataclass
from typing import Any, Iterator, NamedTuple, Optional, Tuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ovseg.components import build_registered
from ovseg.inference.decode import (
    Best,
    Refine,
    best_of_class,
    best_texts,
    class_probabilities,
    confidence_of,
    label_map,
    merge_windows,
    patch_scores,
)
from ovseg.inference.input_size import class_scores
from ovseg.inference.nonfinite import ImagePatches, ignore_label, partial_label_map
from ovseg.models.class_texts import ClassTexts
from ovseg.models.dense_features import DenseFeatures
from ovseg.models.refiners.refiner import InputRefiner, Refiner
from ovseg.precision import full_precision
from ovseg.registry import REFINERS
from ovseg.utils import check_flag, check_integer, check_number

LARGEST_LOGIT = 1e38  # differences of two logits stay in the range of float32


class Decoded(NamedTuple):
    """Result of the decoder for an image.

    Args:
        labels: ``(H, W)`` int64; ``ignore_label(K)`` is no class.
        probabilities: ``(K, H, W)`` float32. None unless wanted.
        confidence: ``(2, H, W)`` float32, the probability of the most probable class, before all thresholds, and its margin to
            the second class; NaN where ``undefined``. None unless wanted.
        undefined: ``(H, W)`` bool, the pixels with a weight from a patch that is not finite; None if all patches are finite.
    """
    labels: Tensor
    probabilities: Optional[Tensor]
    confidence: Optional[Tensor]
    undefined: Optional[Tensor]

    def flip(self, axes: Tuple[int, ...]) -> 'Decoded':
        """Everything mirrored along negative ``axes``."""
        others = (None if each is None else each.flip(axes) for each in self[1:])
        return Decoded(self.labels.flip(axes), *others)


@dataclass(frozen=True)
class Decoder:
    """Scores patches against text embeddings, merges windows, and labels pixels.

    Args:
        logit_scale: Multiplies cosine scores in front of the softmax.
        prob_thd: Pixels whose best probability is under it become ``bg_idx``; in [0, 1].
        area_thd: Classes that cover no more than this share of the foreground lose their pixels to others (SCLIP); in [0, 1].
        bg_idx: Index of the background class.
        refiner: Refines dense scores by the image, e.g. ``dict(type='PAMR')``.
        at_input_size: Merge windows, refine, and take the best name of each class at the size of the network's input, and
            resize the scores of classes after that (LPOSS); the softmax then goes over classes. Otherwise windows are merged
            at the wanted size. True for an ``InputRefiner``, whatever is given.
        cls_token_lambda: Adds this times the CLS token's score to the scores of its window's patches (SegEarth-OV: -0.3).
        memory_mb: Bound for the dense scores held at a time, whatever the number of classes.
        with_seg_logits: Return the class probabilities ``(K, H, W)`` too, as ``seg_logits``.
        with_confidence: Return the probability of the most probable class and its margin to the second, see ``Decoded``.
        reject: Pixels whose most probable class has a probability under it get no class, ``ignore_label(K)``, also those that
            ``prob_thd`` has given ``bg_idx``; in [0, 1].

    Raises:
        ValueError: a number out of range, or an unknown refiner.
    """
    logit_scale: float = 40
    prob_thd: float = 0.0
    area_thd: Optional[float] = None
    bg_idx: int = 0
    refiner: Any = None
    cls_token_lambda: float = 0.0
    memory_mb: float = 256
    with_seg_logits: bool = False
    at_input_size: bool = False
    with_confidence: bool = False
    reject: float = 0.0

    def __post_init__(self) -> None:
        check_number('decoder.cls_token_lambda', self.cls_token_lambda, -math.inf)
        check_number('decoder.logit_scale', self.logit_scale, above=True)
        check_number('decoder.logit_scale * (1 + |decoder.cls_token_lambda|)',
                     self.logit_scale * (1 + abs(self.cls_token_lambda)), 0, LARGEST_LOGIT)
        check_number('decoder.prob_thd', self.prob_thd, 0, 1)
        if self.area_thd is not None:
            check_number('decoder.area_thd', self.area_thd, 0, 1)
        check_integer('decoder.bg_idx', self.bg_idx, 0)
        check_number('decoder.memory_mb', self.memory_mb, above=True)
        check_flag('decoder.with_seg_logits', self.with_seg_logits)
        check_flag('decoder.with_confidence', self.with_confidence)
        check_number('decoder.reject', self.reject, 0, 1)
        if self.refiner is not None:
            refiner: Any = dict(refiner=build_registered('decoder.refiner', REFINERS, Refiner, self.refiner))
            self.__dict__.update(refiner)  # the dataclass is frozen
        check_flag('decoder.at_input_size', self.at_input_size)
        if self.wants_rgb:
            self.__dict__.update(at_input_size=True)

    @property
    def wants_rgb(self) -> bool:
        """True if the refiner takes the image as RGB in [0, 1], False if as it is normalised for the CLIP."""
        return isinstance(self.refiner, InputRefiner)

    def check(self, classes: int) -> None:
        """Refuse a background class that the vocabulary does not have.

        Raises:
            ValueError: names the key and the number of classes.
        """
        check_integer('decoder.bg_idx', self.bg_idx, 0, classes - 1, f'there are {classes} classes')

    def score_vectors(self, features: DenseFeatures) -> Tensor:
        """The vectors whose products with text embeddings are the patches' scores, ``(B, N, E)`` float32.

        Args:
            features: Embeddings of windows. NaN in the diagonal of their attention makes a window NaN: a module that ranks
                patches by it would hide it.
        """
        patches, shift = _unit(features.patches), self.window_shift(features)
        return patches if shift is None else patches + shift.unsqueeze(1)

    def window_shift(self, features: DenseFeatures) -> Optional[Tensor]:
        """Vectors that ``score_vectors`` adds to the unit vectors of each window, ``(B, E)`` float32; None for none."""
        shift = None
        if self.cls_token_lambda and features.cls_token is not None:
            shift = self.cls_token_lambda * _unit(features.cls_token)
        if features.attn is None:
            return shift
        if shift is None:
            shift = features.patches.new_zeros(len(features.patches), features.patches.shape[2], dtype=torch.float32)
        unranked = features.attn.diagonal(dim1=1, dim2=2).isnan().any(dim=1)
        return shift.masked_fill_(unranked.unsqueeze(1), torch.nan)

    def __call__(self, image: Tensor, windows: ImagePatches, texts: ClassTexts, size: Tuple[int, int]) -> Decoded:
        """Labels of an image, and what else is wanted.

        Args:
            image: ``(3, h, w)`` for the refiner, as ``wants_rgb`` says.
            windows: ``score_vectors`` of its windows and their layout; or scores, where ``texts`` has no embeddings.
            texts: The vocabulary.
            size: Wanted height and width.
        """
        if self.with_seg_logits or self.area_thd is not None:
            decoded = self.of_probabilities(self.probabilities(image, windows, texts, size), windows.nonfinite is not None)
            return decoded if self.with_seg_logits else decoded._replace(probabilities=None)
        with full_precision(image):
            best = self._best(image, windows, texts, size)
        labels = best.index if self.at_input_size else texts.class_of[best.index]
        probability, confidence = best.probability(), best.confidence()
        if probability is not None and self.prob_thd > 0:
            labels.masked_fill_(~(probability >= self.prob_thd), self.bg_idx)
        if probability is not None and self.reject > 0:
            labels.masked_fill_(~(probability >= self.reject), ignore_label(texts.num_classes))
        if windows.nonfinite is None:
            return Decoded(labels, None, confidence, None)
        undefined = windows.undefined_pixels(size)
        return Decoded(labels.masked_fill_(undefined, ignore_label(texts.num_classes)), None,
                       None if confidence is None else confidence.masked_fill_(undefined, torch.nan), undefined)

    def of_probabilities(self, probabilities: Tensor, partial: bool) -> Decoded:
        """The result for ``probabilities (K, H, W)``; ``partial``, if some of them are NaN."""
        labels = (partial_label_map if partial else label_map)(probabilities, self.prob_thd, self.bg_idx, self.area_thd)
        if self.reject > 0:
            labels.masked_fill_(~(probabilities.amax(dim=0) >= self.reject), ignore_label(len(probabilities)))
        return Decoded(labels, probabilities, confidence_of(probabilities) if self.with_confidence else None,
                       probabilities[0].isnan() if partial else None)

    def probabilities(self, image: Tensor, windows: ImagePatches, texts: ClassTexts, size: Tuple[int, int]) -> Tensor:
        """``(K, *size)``: merged, refined, softmax. Arguments as in ``__call__``."""
        with full_precision(image):
            if self.at_input_size:
                scores = self.class_scores(image, windows, texts, size)
                probabilities = (scores * self.logit_scale).softmax(dim=0)
            else:
                scores = self._dense_scores(image, windows, texts.embeddings, size)
                probabilities = class_probabilities(scores, texts.class_of, texts.num_classes, self.logit_scale)
        if windows.nonfinite is None:
            return probabilities
        return probabilities.masked_fill(windows.undefined_pixels(size), torch.nan)

    def class_scores(self, image: Tensor, windows: ImagePatches, texts: ClassTexts, size: Tuple[int, int]) -> Tensor:
        """Scores ``(K, *size)`` before ``logit_scale``, merged and refined, each the best of its class."""
        with full_precision(image):
            if self.at_input_size:
                return torch.cat([scores for _, scores in self._scores_by_class(image, windows, texts, size)])
            return best_of_class(self._dense_scores(image, windows, texts.embeddings, size), texts.class_of, texts.num_classes)

    def _dense_scores(self, image: Tensor, windows: ImagePatches, embeddings: Optional[Tensor],
                      size: Tuple[int, int]) -> Tensor:
        """Scores ``(Q, *size)`` before ``logit_scale``, merged and refined; ``embeddings (Q, E)`` as in ``ClassTexts``."""
        scores = merge_windows(patch_scores(windows.patches, embeddings), windows.layout, size)
        refine = self._refine(image, size)
        return scores if refine is None else refine(scores)

    def _scores_by_class(self, image: Tensor, windows: ImagePatches, texts: ClassTexts,
                         size: Tuple[int, int]) -> Iterator[Tuple[int, Tensor]]:
        return class_scores(windows.patches, texts.embeddings, texts.class_of, texts.num_classes, windows.layout, size,
                            self.memory_mb, self._refine(image, (image.shape[1], image.shape[2])))

    def _best(self, image: Tensor, windows: ImagePatches, texts: ClassTexts, size: Tuple[int, int]) -> Best:
        """The best class of each pixel ``at_input_size``, else the best text, without the probabilities of all classes."""
        with_probability = self.with_confidence or self.prob_thd > 0 or self.reject > 0
        if not self.at_input_size:
            return best_texts(windows.patches, texts.embeddings, windows.layout, size, self.logit_scale, with_probability,
                              self.memory_mb, self._refine(image, size), texts.class_of if self.with_confidence else None)
        classes = torch.arange(texts.num_classes, device=image.device) if self.with_confidence else None
        best = Best(size, image.device, self.logit_scale, with_probability, classes)
        for first, scores in self._scores_by_class(image, windows, texts, size):
            best.update(slice(None), first, scores.transpose(0, 1))
            del scores  # so that they are not held beside the next ones
        return best

    def _refine(self, image: Tensor, size: Tuple[int, int]) -> Optional[Refine]:
        """The function that refines dense scores of ``image`` in ``size``; NaN and Inf in the image count as 0."""
        if self.refiner is None:
            return None
        finite = image.nan_to_num(0, 0, 0).unsqueeze(0)
        return self.refiner.of_image(F.interpolate(finite, size=size, mode='bilinear', align_corners=False)[0])


def _unit(vectors: Tensor) -> Tensor:
    """``F.normalize(vectors.float(), dim=-1)``, but NaN where a length overflows float32: it would give a zero vector."""
    vectors = vectors.float()
    length = vectors.norm(dim=-1, keepdim=True)
    return vectors / length.clamp_min(1e-12).masked_fill_(length.isinf(), torch.nan)
