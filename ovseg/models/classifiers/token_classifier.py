"""A frozen encoder with small trained heads."""
from functools import partial
from typing import Any, Dict, List, Mapping, Optional, Union

import torch
from mmengine.model import BaseModel
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from ovseg.components import build_registered
from ovseg.inference.windows import Windows
from ovseg.models.data_preprocessor import build_data_preprocessor, mean_and_std
from ovseg.models.dense import DenseEncoder, WindowBatch
from ovseg.models.guides import load_guides
from ovseg.models.towers import ImageTower, LoadedCLIP
from ovseg.models.towers.loading import load_checked
from ovseg.registry import DENSE_ENCODERS


@MODELS.register_module()
class TokenClassifier(BaseModel):
    """Several ``OutlierImputeHead`` trained side by side on one frozen encoder's token embeddings.

    All heads see the same batches and start from the same weights, so that they differ in nothing but their settings.

    Args:
        clip: See ``CLIPSegmentor``.
        num_classes: C.
        heads: Name to keywords of ``OutlierImputeHead``.
        image_encoder: See ``CLIPSegmentor``.
        data_preprocessor: Default: ``OVSegDataPreProcessor`` as the CLIP weights want it.
    """

    def __init__(self, clip: Union[Mapping[str, Any], LoadedCLIP], num_classes: int, heads: Mapping[str, Mapping[str, Any]],
                 image_encoder: Union[Mapping[str, Any], str, DenseEncoder] = 'LastBlockEncoder',
                 data_preprocessor: Optional[Mapping[str, Any]] = None) -> None:
        encoder = build_registered('image_encoder', DENSE_ENCODERS, DenseEncoder, image_encoder, 'LastBlockEncoder')
        if encoder.needs_texts:
            raise ValueError(f'image_encoder: {type(encoder).__name__} needs text embeddings, and a classifier has none')
        if encoder.regions is not None:
            raise ValueError(f'image_encoder: {type(encoder).__name__} needs region maps, and a classifier has none')
        clip = load_checked(clip, partial(_check_fit, encoder=encoder), encoder.dtype)
        super().__init__(build_data_preprocessor(clip, data_preprocessor))
        self.encoder, self.tower = encoder, clip.image_tower_in(encoder.dtype)
        self.networks = load_guides([encoder.guide], clip, self.tower)
        self.guide_networks = nn.ModuleList(network for network in self.networks.values() if network is not self.tower)
        for name, values in zip(('mean', 'std'), mean_and_std(self.data_preprocessor)):
            self.register_buffer(name, values, persistent=False)
        self.heads = nn.ModuleDict({
            name: MODELS.build(dict(type='OutlierImputeHead', d=self.tower.output_width, num_classes=num_classes, **head))
            for name, head in heads.items()})
        first, *others = self.heads.values()
        for head in others:
            head.load_state_dict(first.state_dict())

    def forward(self, inputs: List[Tensor], data_samples: Optional[List[Any]] = None,
                mode: str = 'tensor') -> Union[Dict[str, Tensor], List[Any]]:
        """``'loss'``: cross-entropy per head; ``'tensor'``: logits per head; ``'predict'``: samples with ``pred_scores``, the
        mean logits of a sample's versions.

        Args:
            inputs: Equally large normalised images ``(3, H, W)``.
            data_samples: Their samples; ``gt_label`` is read in training.
            mode: One of the three.
        """
        features = self.encoder.tokens(self.tower, WindowBatch(torch.stack(list(inputs)), self.mean, self.std,
                                                               self.networks))
        features = self.encoder.project(self.tower, features)
        tokens = features.patches
        if features.cls_token is not None:
            tokens = torch.cat([features.cls_token.unsqueeze(1), tokens], dim=1)
        logits = {name: head(tokens) for name, head in self.heads.items()}
        if mode == 'tensor':
            return logits
        if data_samples is None:
            raise ValueError(f'mode={mode!r} needs data_samples')
        if mode == 'loss':
            labels = torch.tensor([sample.gt_label for sample in data_samples], device=tokens.device)
            return {f'loss_{name}': F.cross_entropy(value, labels.repeat_interleave(len(value) // len(labels)))
                    for name, value in logits.items()}
        scores = {name: value.unflatten(0, (len(data_samples), -1)).mean(dim=1) for name, value in logits.items()}
        for index, sample in enumerate(data_samples):
            sample.set_data(dict(pred_scores={name: value[index] for name, value in scores.items()}))
        return data_samples


def _check_fit(tower: ImageTower, encoder: DenseEncoder) -> None:
    encoder.check(tower)
    if encoder.guide is not None:
        encoder.guide.check(tower, Windows(crop=0))
