"""The choice of an adapter for the image tower of a model."""
from functools import singledispatch

from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from torch import nn

from ovseg.models.towers.image_tower import ImageTower
from ovseg.models.towers.open_clip_tower import OpenCLIPTower
from ovseg.models.towers.timm_tower import TimmTower


@singledispatch
def image_tower(visual: nn.Module) -> ImageTower:
    """The image tower of a model behind the interface of ``ImageTower``.

    ``image_tower.register(Host, Adapter)`` adds an adapter for modules of the class ``Host``.

    Args:
        visual: ``visual`` of an open_clip model.

    Raises:
        TypeError: there is no adapter for it, or the adapter refuses it.
    """
    hosts = ', '.join(host.__name__ for host in image_tower.registry if host is not object)
    raise TypeError(f'the image tower is a {type(visual).__name__}; ovseg needs a ViT with a patch grid of one of the classes '
                    f'{hosts}')


image_tower.register(VisionTransformer, OpenCLIPTower)
image_tower.register(TimmModel, TimmTower)
