"""Several segmentors of the same weights that share what they compute."""
from typing import Any, Dict, List, Mapping, Sequence, Tuple, Union

import torch
from mmengine.model import BaseModel
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import nn

from ovseg.ablation.settings import Setting
from ovseg.components import build_registered, with_defaults
from ovseg.models.dense import DenseEncoder, WindowBatch
from ovseg.models.dense_features import DenseFeatures
from ovseg.models.segmentors import CLIPSegmentor
from ovseg.models.segmentors.switches import COMPONENTS, DEFAULTS
from ovseg.models.towers import ImageTower, load_clip
from ovseg.registry import DENSE_ENCODERS


class SharedEncoder(DenseEncoder):
    """A dense encoder that computes once what several segmentors ask for, until it is told to forget.

    Args:
        encoder: The encoder itself.
        with_attention: Whether any of the segmentors needs the attention.
    """

    def __init__(self, encoder: DenseEncoder, with_attention: bool) -> None:
        super().__init__()
        self.encoder, self.with_attention, self.precision = encoder, with_attention, encoder.precision
        self.gives_attention, self.gives_cls, self.guide = encoder.gives_attention, encoder.gives_cls, encoder.guide
        self.needs_texts, self.regions, self.region_vote = encoder.needs_texts, encoder.regions, encoder.region_vote
        self.known: List[Tuple[WindowBatch, DenseFeatures]] = []
        self.freeze()

    def check(self, tower: ImageTower) -> None:
        """See ``DenseEncoder``."""
        self.encoder.check(tower)

    def patch_size(self, tower: ImageTower) -> Tuple[int, int]:
        """See ``DenseEncoder``."""
        return self.encoder.patch_size(tower)

    def forget(self) -> None:
        """Free the features of the images so far."""
        self.known.clear()

    def tokens(self, tower: ImageTower, batch: WindowBatch, with_attention: bool = False) -> DenseFeatures:
        """See ``DenseEncoder``; the attention is there for those who ask for it."""
        features = next((features for known, features in self.known if _equal(known, batch)), None)
        if features is None:
            features = self.encoder.tokens(tower, batch, with_attention=self.with_attention)
            self.known.append((batch, features))
        return features if with_attention else features.replace(attn=None)

    def project(self, tower: ImageTower, features: DenseFeatures) -> DenseFeatures:
        """See ``DenseEncoder``."""
        return self.encoder.project(tower, features)


class SettingsModel(BaseModel):
    """The segmentors of settings with one ``weights_digest``, run side by side on the same images.

    The CLIP is loaded once; settings with equal image encoders share one, which runs once on equal windows. Settings whose
    vocabularies or decoders alone differ share what the post-processors leave, too.

    Args:
        settings: At least one.
    """

    segmentors: Sequence[CLIPSegmentor]

    def __init__(self, settings: Sequence[Setting]) -> None:
        configs = [{**DEFAULTS, **setting.cfg.model} for setting in settings]
        encoders = _equal_ones_built_once([cfg['image_encoder'] for cfg in configs])
        for cfg, encoder in zip(configs, encoders):
            cfg['image_encoder'] = encoder
        if len({encoder.dtype for encoder in encoders}) > 1:
            configs[0]['clip'] = load_clip(**configs[0]['clip'])  # in float32, of which the other types are copies
        first: CLIPSegmentor = MODELS.build(configs[0])
        super().__init__(first.data_preprocessor)
        others = [first.variant(**{key: cfg[key] for key in COMPONENTS if key != 'clip'}) for cfg in configs[1:]]
        self.segmentors = nn.ModuleList([first, *others])  # type: ignore[assignment]
        with_attention = {encoder for segmentor, encoder in zip(self.segmentors, encoders)
                          if segmentor.post_processors.needs_attention}
        self.encoders = {encoder: SharedEncoder(encoder, encoder in with_attention) for encoder in encoders}
        for segmentor, encoder in zip(self.segmentors, encoders):
            segmentor.image_encoder = self.encoders[encoder]
        fronts = [_front(segmentor, cfg) for segmentor, cfg in zip(self.segmentors, configs)]
        self.sources = [index if encoder.needs_texts else fronts.index(front)
                        for index, (encoder, front) in enumerate(zip(encoders, fronts))]

    def forward(self, inputs: Any, data_samples: List[SegDataSample], mode: str = 'predict') -> List[List[SegDataSample]]:
        """Per setting what its ``CLIPSegmentor.predict`` returns, whatever ``mode``."""
        for encoder in self.encoders.values():
            encoder.forget()
        patches = {source: self.segmentors[source].window_patches(inputs, data_samples) for source in set(self.sources)}
        return [segmentor.decode(inputs, [sample.new() for sample in data_samples], patches[source])
                for segmentor, source in zip(self.segmentors, self.sources)]


def _front(segmentor: CLIPSegmentor, cfg: Mapping[str, Any]) -> List[Any]:
    """Everything that ``window_patches`` depends on, apart from the text embeddings."""
    return [segmentor.image_encoder, segmentor.decoder.cls_token_lambda,
            *(cfg[key] for key in ('post_processors', 'upsampler', 'windows'))]


def _equal_ones_built_once(configs: Sequence[Union[str, Mapping[str, Any]]]) -> List[DenseEncoder]:
    """The encoder of each config; equal configs have the same one."""
    built: List[Tuple[Dict[str, Any], DenseEncoder]] = []
    for cfg in configs:
        encoder = build_registered('image_encoder', DENSE_ENCODERS, DenseEncoder, cfg, 'LastBlockEncoder')
        resolved = with_defaults(DENSE_ENCODERS, {'type': 'LastBlockEncoder', **cfg} if isinstance(cfg, Mapping) else cfg)
        built.append((resolved, next((other for found, other in built if found == resolved), encoder)))
    return [encoder for _, encoder in built]


def _equal(a: WindowBatch, b: WindowBatch) -> bool:
    """Return True if a dense encoder gives the same for both batches."""
    pairs = [(a.images, b.images)]
    if a.regions is not None and b.regions is not None:
        pairs.append((a.regions, b.regions))
    if a.texts is not None and b.texts is not None:
        pairs += [(x, y) for x, y in zip(a.texts[:2], b.texts[:2]) if x is not None and y is not None]
    return all(x.shape == y.shape and torch.equal(x, y) for x, y in pairs)
