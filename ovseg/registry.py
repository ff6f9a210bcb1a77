"""Registries of what ovseg adds to MMSegmentation's own: dense encoders, guides, attentions, post-processors and others.

Segmentors, heads, data sets, metrics and hooks are registered in mmseg's registries, so that a config names them as it
names mmseg's.
"""
from typing import Any, Callable, Optional

from mmengine.registry import Registry


class _AnyCaseRegistry(Registry):
    """A registry whose names are matched without regard to case."""

    def get(self, key: str) -> Optional[Callable[..., Any]]:
        for name in self.module_dict:
            if name.casefold() == key.casefold() and key not in self.module_dict:
                return super().get(name)
        return super().get(key)


# Subclasses of ovseg.models.dense.DenseEncoder.
DENSE_ENCODERS = Registry('dense encoder', scope='mmseg', locations=['ovseg.models.dense'])

# Subclasses of ovseg.models.guides.Guide.
GUIDES = Registry('guide', scope='mmseg', locations=['ovseg.models.guides'])

# An entry maps (q, k, v: (B, H, T, d), grid_size, bias: (B, 1, T, T) or None) to weights (B, H, T, T).
ATTENTIONS = _AnyCaseRegistry('attention', scope='mmseg', locations=['ovseg.models.attention'])

# Subclasses of ovseg.models.regions.Regions.
REGIONS = Registry('source of region maps', scope='mmseg', locations=['ovseg.models.regions'])

# Subclasses of ovseg.models.post_processors.PostProcessor.
POST_PROCESSORS = Registry('post-processor', scope='mmseg', locations=['ovseg.models.post_processors'])

# Subclasses of ovseg.models.upsamplers.Upsampler.
UPSAMPLERS = Registry('upsampler', scope='mmseg', locations=['ovseg.models.upsamplers'])

# Objects whose of_image(image (C, H, W)) gives a function that refines dense scores (Q, H, W) of that image.
REFINERS = Registry('refiner', scope='mmseg', locations=['ovseg.models.refiners'])
