"""PASCAL VOC 2012 without its background."""
from typing import Any, ClassVar

from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from ovseg.datasets.palettes import voc_colours
from ovseg.vocabulary.class_lists import read_class_list


@DATASETS.register_module()
class PascalVOC20Dataset(BaseSegDataset):
    """PASCAL VOC 2012's 20 classes; its background is ignored. Files as for mmseg's ``PascalVOCDataset``."""

    METAINFO: ClassVar = dict(classes=[names[0] for names in read_class_list('voc20')], palette=voc_colours(1, 21))

    def __init__(self, reduce_zero_label: bool = True, **kwargs: Any) -> None:
        super().__init__(reduce_zero_label=reduce_zero_label, **kwargs)
