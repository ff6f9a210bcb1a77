"""The components of a segmentor: built from their configs, and checked against each other."""
from typing import Any, List, Mapping, NamedTuple, Optional

from ovseg.components import build_component, build_registered
from ovseg.inference.windows import Windows
from ovseg.models.decoder import Decoder
from ovseg.models.dense import DenseEncoder
from ovseg.models.guides.guide import Guide
from ovseg.models.post_processors import PostProcessorChain
from ovseg.models.regions import Regions
from ovseg.models.towers import ImageTower
from ovseg.models.upsamplers import LinearUpsampler, Upsampler
from ovseg.registry import DENSE_ENCODERS, UPSAMPLERS
from ovseg.utils import shown
from ovseg.vocabulary import Vocabulary


class Components(NamedTuple):
    """All components of a segmentor but its CLIP; none of them holds weights of the CLIP."""
    vocabulary: Vocabulary
    image_encoder: DenseEncoder
    post_processors: PostProcessorChain
    upsampler: Optional[Upsampler]
    windows: Windows
    decoder: Decoder

    @classmethod
    def build(cls, cfg: Mapping[str, Any]) -> 'Components':
        """Components of their configs, each of which may be an object already.

        Raises:
            ValueError: a config that its component refuses, or a background class that the vocabulary does not have.
        """
        upsampler = cfg['upsampler']
        built = cls(
            build_component('vocabulary', Vocabulary, cfg['vocabulary']),
            build_registered('image_encoder', DENSE_ENCODERS, DenseEncoder, cfg['image_encoder'], 'LastBlockEncoder'),
            PostProcessorChain(cfg['post_processors']),
            None if upsampler is None else build_registered('upsampler', UPSAMPLERS, Upsampler, upsampler),
            build_component('windows', Windows, cfg['windows']),
            build_component('decoder', Decoder, cfg['decoder']))
        built.decoder.check(len(built.vocabulary.synonyms))
        return built

    @property
    def guides(self) -> List[Guide]:
        """The guides that components use; equal ones may stand there several times."""
        return [guide for guide in (self.image_encoder.guide, *self.post_processors.guides) if guide is not None]

    def check(self, tower: ImageTower) -> None:
        """Refuse components that cannot work with a tower, or with each other.

        Args:
            tower: The image tower of the CLIP, which has no weights yet.

        Raises:
            ValueError: names the component and the key.
        """
        self.image_encoder.check(tower)
        for guide in self.guides:
            if not isinstance(guide, Guide):
                raise ValueError(f'guide={shown(guide)} of a component must be a Guide, as build_guide gives it')
            guide.check(tower, self.windows)
        regions = self.image_encoder.regions
        if regions is not None:
            if not isinstance(regions, Regions):
                raise ValueError(f'regions={shown(regions)} of image_encoder must be Regions, as build_regions gives them')
            regions.check()
        has_cls = tower.has_cls and self.image_encoder.gives_cls
        self.post_processors.check(self.image_encoder.gives_attention, has_cls, type(self.image_encoder).__name__)
        if self.upsampler is not None:
            self.upsampler.check(tower)
        if isinstance(self.upsampler, LinearUpsampler) and self.post_processors.of_scores:
            module = type(self.post_processors.of_scores[0]).__name__
            raise ValueError(f'post_processors: {module} works on the scores of patches, and those of upsampler '
                             f'{type(self.upsampler).__name__} are on a finer grid and not held: leave one of them out')
        scale = 1 if self.upsampler is None else self.upsampler.scale
        if scale is not None:
            height, width = self.image_encoder.patch_size(tower)
            for score_module in self.post_processors.of_scores:
                score_module.check(tower, (height / scale, width / scale))
        if self.decoder.cls_token_lambda and not has_cls:
            raise ValueError(f'decoder.cls_token_lambda={self.decoder.cls_token_lambda} needs a CLS token, and there is none')
        if 0 < self.windows.crop < max(tower.patch_size):
            raise ValueError(f'windows.crop={self.windows.crop} is under one patch ({max(tower.patch_size)} pixels); '
                             '0 takes the whole image')
