"""The interface of dense encoders."""
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ovseg.models.dense_features import DenseFeatures
from ovseg.models.frozen import FrozenModule
from ovseg.models.towers.image_tower import ImageTower
from ovseg.utils import check_choice

PRECISIONS = dict(fp32=torch.float32, fp16=torch.float16, bf16=torch.bfloat16)


@dataclass(frozen=True)
class WindowBatch:
    """A batch of windows, as dense encoders get it.

    Args:
        images: Normalised windows ``(B, 3, h, w)``.
        mean: Mean of RGB in [0, 1] that was subtracted, ``(3, 1, 1)``.
        std: Deviation of RGB in [0, 1] that the windows were divided by, ``(3, 1, 1)``.
    """
    images: Tensor
    mean: Tensor
    std: Tensor

    @cached_property
    def rgb(self) -> Tensor:
        """The windows as RGB ``(B, 3, h, w)`` float32 in [0, 1]; padding has the mean colour."""
        return self.images * self.std + self.mean


class DenseEncoder(FrozenModule, ABC):
    """A method that turns windows into patch features with a frozen image tower, which it is given.

    Attributes:
        gives_attention: Whether the features can hold the attention that post-processors use.
        gives_cls: Whether the features hold a CLS token.
        precision: Type that the image tower computes in, a key of ``PRECISIONS``.
    """

    gives_attention: bool = True
    gives_cls: bool = True
    precision: str = 'fp32'

    @property
    def dtype(self) -> torch.dtype:
        """The type of ``precision``."""
        return PRECISIONS[check_choice('image_encoder.precision', self.precision, list(PRECISIONS))]

    @abstractmethod
    def check(self, tower: ImageTower) -> None:
        """Refuse a tower that the method does not work with. It has no weights yet.

        Raises:
            ValueError: names the key and what is allowed.
        """

    @abstractmethod
    def tokens(self, tower: ImageTower, batch: WindowBatch, with_attention: bool = False) -> DenseFeatures:
        """Features of width D in front of the tower's projection.

        Args:
            tower: The image tower.
            batch: The windows.
            with_attention: Compute ``attn`` of the result too.
        """


def project(tower: ImageTower, features: DenseFeatures) -> DenseFeatures:
    """``features`` of width D through the tower's projection to width E."""
    cls_token = None if features.cls_token is None else tower.project(features.cls_token)
    return features.replace(patches=tower.project(features.patches), cls_token=cls_token)
