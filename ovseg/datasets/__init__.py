"""Data sets that mmseg lacks, and the demo's scenes."""
from ovseg.datasets.ade20k847_dataset import ADE20K847Dataset
from ovseg.datasets.coco_object_dataset import COCOObjectDataset
from ovseg.datasets.demo_scenes_dataset import DemoScenesDataset
from ovseg.datasets.load_wide_annotations import LoadWideAnnotations
from ovseg.datasets.loading import LoadImage
from ovseg.datasets.main_texture_dataset import MainTextureDataset
from ovseg.datasets.pascal_context459_dataset import PascalContext459Dataset
from ovseg.datasets.pascal_voc20_dataset import PascalVOC20Dataset
from ovseg.datasets.table_dataset import TableDataset

__all__ = ['ADE20K847Dataset', 'COCOObjectDataset', 'DemoScenesDataset', 'LoadImage', 'LoadWideAnnotations',
           'MainTextureDataset', 'PascalContext459Dataset', 'PascalVOC20Dataset', 'TableDataset']
