"""A frozen encoder with small trained heads."""
from typing import Any, Dict, List, Mapping, Optional, Union

import torch
from mmengine.model import BaseModel
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from ovseg.models.data_preprocessor import build_data_preprocessor
from ovseg.models.encoders import CLIPImageEncoder, load_clip


@MODELS.register_module()
class TokenClassifier(BaseModel):
    """Several ``OutlierImputeHead`` trained side by side on one frozen encoder's token embeddings.

    All heads see the same batches and start from the same weights, so that they differ in nothing but their settings.

    Args:
        clip_model: See ``load_clip``.
        pretrained: See ``load_clip``.
        num_classes: C.
        heads: Name to keywords of ``OutlierImputeHead``.
        model_type: See ``CLIPImageEncoder``.
        ignore_residual: See ``CLIPImageEncoder``.
        data_preprocessor: Default: ``OVSegDataPreProcessor`` as the CLIP weights want it.
    """

    def __init__(self, clip_model: str, pretrained: Optional[str], num_classes: int, heads: Mapping[str, Mapping[str, Any]],
                 model_type: str = 'Experimental', ignore_residual: bool = True,
                 data_preprocessor: Optional[Mapping[str, Any]] = None) -> None:
        clip = load_clip(clip_model, pretrained)
        super().__init__(build_data_preprocessor(clip, data_preprocessor))
        self.encoder = CLIPImageEncoder(clip.model.visual, model_type, ignore_residual)
        width = self.encoder.visual.proj.shape[1]
        self.heads = nn.ModuleDict({
            name: MODELS.build(dict(type='OutlierImputeHead', d=width, num_classes=num_classes, **head))
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
        features = self.encoder.project(self.encoder.tokens(torch.stack(list(inputs))))
        tokens = torch.cat([features.cls_token.unsqueeze(1), features.patches], dim=1)
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
