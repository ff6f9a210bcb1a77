"""The held-out scenes that come with ovseg."""
from pathlib import Path
from typing import Any, ClassVar, Optional

from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from ovseg.demo.textures import CLASSES

DEMO_SCENES = Path(__file__).parent / 'resources' / 'demo_scenes'

PALETTE = [[96, 169, 23], [27, 161, 226], [160, 82, 45], [240, 220, 130], [230, 240, 250], [130, 90, 44], [109, 135, 100],
           [135, 206, 250], [30, 30, 30], [229, 20, 0], [170, 0, 255], [0, 138, 0], [250, 180, 0], [216, 115, 127],
           [0, 80, 239], [216, 0, 115]]


@DATASETS.register_module()
class DemoScenesDataset(BaseSegDataset):
    """60 drawn scenes of 8 grounds and 8 patterned objects (``tools/make_demo_scenes.py``), part of the package."""

    METAINFO: ClassVar = dict(classes=CLASSES, palette=PALETTE)

    def __init__(self, data_root: Optional[str] = None, **kwargs: Any) -> None:
        super().__init__(data_root=data_root or str(DEMO_SCENES), **kwargs)
