"""CLIPs of open_clip with an image tower that ovseg supports, found by their settings without building them."""
from typing import Any, List, Mapping, NamedTuple

import open_clip
from open_clip import CLIPVisionCfg


class Backbone(NamedTuple):
    """A ``clip_model`` and the ``pretrained`` tag that goes with it, and open_clip's settings of the model."""
    clip_model: str
    pretrained: str
    config: Mapping[str, Any]

    @property
    def vision(self) -> CLIPVisionCfg:
        """Settings of the image tower."""
        return CLIPVisionCfg(**self.config['vision_cfg'])


def pretrained_backbones() -> List[Backbone]:
    """Every model and tag of open_clip that ``load_clip`` and ``image_tower`` accept.

    A tag is listed under the model that computes the activation it was trained with, and not under the model of the other
    activation: ``openai`` belongs to ``ViT-B-16-quickgelu``, although open_clip has it for ``ViT-B-16`` too.
    """
    backbones = []
    for name in open_clip.list_models():
        config = open_clip.get_model_config(name)
        for tag in open_clip.list_pretrained_tags_by_model(name) if _is_supported(config) else ():
            trained_with_quick_gelu = open_clip.get_pretrained_cfg(name, tag).get('quick_gelu', False)
            if trained_with_quick_gelu == config.get('quick_gelu', False):
                backbones.append(Backbone(name, tag, config))
    return backbones


def _is_supported(config: Mapping[str, Any]) -> bool:
    """Return True if ``image_tower`` accepts the model's image tower, and it is no CoCa."""
    vision = CLIPVisionCfg(**config['vision_cfg'])
    if 'multimodal_cfg' in config:
        return False
    if vision.timm_model_name is not None:
        return vision.timm_pool in ('token', 'map')  # a CLS token, or an attention pool; only ViTs of timm have them
    return isinstance(vision.layers, int) and vision.pool_type == 'tok' and not vision.attentional_pool
