"""The interface of guides."""
import math
from abc import ABC, abstractmethod
from typing import Any, Dict, Iterable, Optional, Tuple

from torch import nn

from ovseg.components import build_registered
from ovseg.inference.windows import Windows
from ovseg.models.towers.image_tower import ImageTower
from ovseg.models.towers.loading import LoadedCLIP
from ovseg.models.window_batch import GuideFeatures, WindowBatch
from ovseg.registry import GUIDES
from ovseg.utils import check_choice

FEATURES = ('tokens', 'q', 'k', 'v', 'qk')


class Guide(ABC):
    """The settings of a second frozen vision model that gives features of the same windows.

    A guide is light: it holds no weights, and its network is loaded once for all guides that are equal, after all components
    were checked. Subclasses are frozen dataclasses, whose fields decide what is equal.

    Attributes:
        patch_size: Height and width of a patch in pixels; None: those of the CLIP.
    """

    patch_size: Optional[Tuple[int, int]] = None

    def check(self, tower: ImageTower, windows: Windows) -> None:
        """Refuse a tower or windows that the guide does not work with, before weights are read.

        Args:
            tower: The CLIP's image tower, which has no weights yet.
            windows: The component that cuts images. Windows of a fixed size must be a multiple of the guide's patch; others
                are padded to one.

        Raises:
            ValueError: names the guide, the key and what is allowed.
        """
        for patch, own in zip(tower.patch_size, self.patch_size or tower.patch_size):
            side = -(-windows.crop // patch) * patch if windows.pad_mode == 'center' else windows.crop
            if side % own:
                raise ValueError(f'{self}: its patch of {own} pixels does not fit windows of {side} pixels (windows.crop='
                                 f'{windows.crop}, patches of the CLIP {patch}): windows.crop must give a multiple of {own}')

    @abstractmethod
    def load(self) -> Optional[nn.Module]:
        """The network with its weights; None for a guide that runs the CLIP's image tower.

        Raises:
            FileNotFoundError: the weights are not on this machine.
            ValueError: they are another network's.
        """

    def weights_digest(self) -> str:
        """Digest of the file that ``load`` reads; empty for a guide without weights of its own."""
        return ''

    @abstractmethod
    def __call__(self, network: Any, batch: WindowBatch) -> GuideFeatures:
        """Features of the windows.

        Args:
            network: What ``load`` gave, or the CLIP's image tower.
            batch: The windows; a batch keeps the features, so get them from ``WindowBatch.guide``.
        """

    def bytes_per_window(self, size: Tuple[int, int]) -> int:
        """Memory that a forward pass takes for a window of ``size`` pixels, beside that of the dense encoder."""
        return 0


def build_guide(key: str, cfg: Any) -> Guide:
    """The guide of a config.

    Args:
        key: Its key in a model's config, e.g. ``'image_encoder.guide'``.
        cfg: A dict with a ``type`` in ``GUIDES`` and keywords, a type alone, or a guide, which is returned as it is.

    Raises:
        ValueError: it is none of those, or a setting is not allowed.
    """
    return build_registered(key, GUIDES, Guide, cfg)


def check_features(guide: str, features: str) -> None:
    """Refuse features that are not in ``FEATURES``: final tokens, or queries, keys, values or their sum ``q + k`` of a block.

    Raises:
        ValueError: names the guide and what there is.
    """
    check_choice(f'{guide} features', features, FEATURES)


def load_guides(guides: Iterable[Optional[Guide]], clip: LoadedCLIP, tower: ImageTower) -> Dict[Guide, nn.Module]:
    """The network of each guide, on the device of the tower. Equal guides, also those of other models of ``clip``, have one.

    Args:
        guides: Guides; None is left out.
        clip: Holds the networks.
        tower: The CLIP's image tower.

    Raises:
        FileNotFoundError: weights are not on this machine.
        ValueError: they are another network's.
    """
    networks: Dict[Guide, nn.Module] = {}
    for guide in guides:
        if guide is not None and guide not in networks:
            network = clip.guide_network(guide)
            networks[guide] = tower if network is None else network.to(next(tower.parameters()).device)
    return networks


def common_patch_size(patch_size: Tuple[int, int], guides: Iterable[Guide]) -> Tuple[int, int]:
    """The size whose multiples are multiples of the CLIP's ``patch_size``, rows and columns, and of that of each guide."""
    rows, columns = zip(patch_size, *(guide.patch_size or patch_size for guide in guides))
    return math.lcm(*rows), math.lcm(*columns)
