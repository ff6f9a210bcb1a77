"""Test-time augmentation."""
from dataclasses import replace
from typing import Any, List

import torch
from mmengine.model import BaseTTAModel
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from ovseg.models.segmentors.decoded_samples import add_decoded


@MODELS.register_module()
class CLIPSegTTAModel(BaseTTAModel):
    """Averages the class probabilities that ``CLIPSegmentor`` gives for every version of an image.

    mmseg's ``SegTTAModel`` takes a softmax of what the segmentor returns, and ours already returns probabilities; it also
    has no ``prob_thd``.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.module.decoder = replace(self.module.decoder, with_seg_logits=True)

    def merge_preds(self, data_samples_list: List[List[SegDataSample]]) -> List[SegDataSample]:
        """One sample per image, with the mean probabilities as ``seg_logits`` and their ``pred_sem_seg``.

        A pixel whose probabilities are NaN in one version has none in the mean: see ``CLIPSegmentor.predict``. The confidence
        is that of the mean.
        """
        merged = []
        for versions in data_samples_list:
            probabilities = torch.stack([version.seg_logits.data for version in versions]).mean(dim=0)
            partial = any('nonfinite_pixels' in version for version in versions)
            decoded, sample = self.module.decoder.of_probabilities(probabilities, partial), versions[0]
            if 'regions' in sample:
                decoded = decoded._replace(labels=self.module.vote(decoded.labels, sample.regions.data[0]))
            add_decoded(sample, decoded)
            merged.append(sample)
        return merged
