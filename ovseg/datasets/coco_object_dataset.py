"""COCO's 80 things on a background."""
from typing import Any, ClassVar

from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from ovseg.datasets.palettes import voc_colours
from ovseg.vocabulary.class_lists import read_class_list


@DATASETS.register_module()
class COCOObjectDataset(BaseSegDataset):
    """COCO-Object: COCO's 80 things are 1 … 80; stuff and what is not labelled are the background, 0.

    The label files are made from COCO-Stuff 164k's.
    """

    METAINFO: ClassVar = dict(classes=[names[0] for names in read_class_list('coco_object')], palette=voc_colours(0, 81))

    def __init__(self, seg_map_suffix: str = '_instanceTrainIds.png', **kwargs: Any) -> None:
        super().__init__(seg_map_suffix=seg_map_suffix, **kwargs)
