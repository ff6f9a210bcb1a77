"""Test-time augmentation."""
from typing import Any, List

import torch
from mmengine.model import BaseTTAModel
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from ovseg.inference.decode import label_map


@MODELS.register_module()
class CLIPSegTTAModel(BaseTTAModel):
    """Averages the class probabilities that ``CLIPSegmentor`` gives for every version of an image.

    mmseg's ``SegTTAModel`` takes a softmax of what the segmentor returns, and ours already returns probabilities; it also
    knows no ``prob_thd``.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.module.with_seg_logits = True

    def merge_preds(self, data_samples_list: List[List[SegDataSample]]) -> List[SegDataSample]:
        """One sample per image, with the mean probabilities as ``seg_logits`` and their ``pred_sem_seg``."""
        merged = []
        for versions in data_samples_list:
            probabilities = torch.stack([version.seg_logits.data for version in versions]).mean(dim=0)
            labels = label_map(probabilities, self.module.prob_thd, self.module.bg_idx, self.module.area_thd)
            sample = versions[0]
            sample.set_data(dict(seg_logits=PixelData(data=probabilities), pred_sem_seg=PixelData(data=labels.unsqueeze(0))))
            merged.append(sample)
        return merged
