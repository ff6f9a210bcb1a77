"""ADE20K with its full vocabulary."""
from typing import Any, ClassVar

from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from ovseg.datasets.palettes import voc_colours
from ovseg.vocabulary.class_lists import read_class_list


@DATASETS.register_module()
class ADE20K847Dataset(BaseSegDataset):
    """ADE20K-847, known from MaskFormer: 16-bit label files, read by ``LoadWideAnnotations``; 65535 is ignored."""

    METAINFO: ClassVar = dict(classes=[names[0] for names in read_class_list('ade20k_847')], palette=voc_colours(0, 847))

    def __init__(self, seg_map_suffix: str = '.tif', ignore_index: int = 65535, **kwargs: Any) -> None:
        super().__init__(seg_map_suffix=seg_map_suffix, ignore_index=ignore_index, **kwargs)
