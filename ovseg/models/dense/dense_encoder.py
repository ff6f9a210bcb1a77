"""The interface of dense encoders."""
from abc import ABC, abstractmethod
from typing import Optional, Sequence, Tuple

import torch

from ovseg.models.dense_features import DenseFeatures
from ovseg.models.frozen import FrozenModule
from ovseg.models.guides.guide import Guide
from ovseg.models.regions.regions import Regions
from ovseg.models.towers.image_tower import ImageTower
from ovseg.models.window_batch import WindowBatch
from ovseg.precision import PRECISIONS
from ovseg.utils import check_choice, check_integer, shown


class DenseEncoder(FrozenModule, ABC):
    """A method that turns windows into patch features with a frozen image tower, which it is given.

    Attributes:
        gives_attention: Whether the features can hold the attention that post-processors use.
        gives_cls: Whether the features hold a CLS token.
        needs_texts: Whether ``tokens`` reads ``batch.texts``, the text embeddings of the vocabulary.
        precision: Type that the image tower computes in, a key of ``PRECISIONS``.
        guide: The guide that the method uses, see ``build_guide``: ``batch.guide(self.guide)`` are its features. None: none.
        regions: The source of region maps that the method uses, see ``build_regions``: ``batch.regions`` are those of the
            windows. None: none.
        region_vote: Whether all pixels of a region get the label that most of them have, see ``vote``.
    """

    gives_attention: bool = True
    gives_cls: bool = True
    needs_texts: bool = False
    precision: str = 'fp32'
    guide: Optional[Guide] = None
    regions: Optional[Regions] = None
    region_vote: bool = False

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

    def patch_size(self, tower: ImageTower) -> Tuple[int, int]:
        """Height and width in pixels of a patch of the features; those of the tower, unless a method has another grid."""
        return tower.patch_size

    def project(self, tower: ImageTower, features: DenseFeatures) -> DenseFeatures:
        """Features of width E behind the tower's projection, of those that ``tokens`` gave and modules of its stage cleaned."""
        return project(tower, features)


def project(tower: ImageTower, features: DenseFeatures) -> DenseFeatures:
    """``features`` of width D through the tower's projection to width E."""
    cls_token = None if features.cls_token is None else tower.project(features.cls_token)
    return features.replace(patches=tower.project(features.patches), cls_token=cls_token)


def check_layers(key: str, layers: Sequence[int]) -> Tuple[int, int]:
    """The first and the last of several blocks in order, counted from 1.

    Raises:
        ValueError: they are not two integers in ascending order; names the key.
    """
    if not isinstance(layers, (list, tuple)) or len(layers) != 2:
        raise ValueError(f'{key}={shown(layers)} must be the first and the last block, e.g. (4, 10)')
    first = check_integer(f'{key}[0]', layers[0], 1)
    return first, check_integer(f'{key}[1]', layers[1], first)
