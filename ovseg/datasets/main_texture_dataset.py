"""Scenes labelled by the class that covers most of them."""
from typing import Any, ClassVar, Dict, Tuple

import mmcv
import numpy as np
import torch
from mmengine.structures import BaseDataElement
from mmseg.registry import DATASETS
from torch.utils.data import Dataset

from ovseg.datasets.demo_scenes_dataset import DemoScenesDataset
from ovseg.demo.scenes import draw_scene
from ovseg.demo.textures import CLASSES
from ovseg.image_files import decoded


@DATASETS.register_module()
class MainTextureDataset(Dataset):
    """Whole scenes with ``gt_label``: the index of the class that covers most pixels.

    Args:
        length: Scenes to draw, each a function of ``seed`` and its index; 0 takes the 60 shipped ones.
        size: Side of the square images; shipped scenes are resized.
        seed: Of the drawn scenes.
    """

    metainfo: ClassVar = dict(classes=CLASSES)

    def __init__(self, length: int = 0, size: int = 224, seed: int = 1) -> None:
        self.shipped = DemoScenesDataset(data_prefix=dict(img_path='images', seg_map_path='annotations'))
        self.length, self.size, self.seed = length, size, seed

    def __len__(self) -> int:
        return self.length or len(self.shipped)

    def __getitem__(self, index: int) -> Dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(f'there is no scene {index} among {len(self)}')
        image, labels = self._drawn(index) if self.length else self._shipped(index)
        sample = BaseDataElement(gt_label=int(np.bincount(labels.ravel()).argmax()))
        return dict(inputs=torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))), data_samples=sample)

    def _drawn(self, index: int) -> Tuple[np.ndarray, np.ndarray]:
        scene = draw_scene(np.random.default_rng((self.seed, index)), self.size, self.size)
        return scene.image[..., ::-1], scene.labels

    def _shipped(self, index: int) -> Tuple[np.ndarray, np.ndarray]:
        info = self.shipped.get_data_info(index)
        image, labels = mmcv.imread(info['img_path']), np.array(decoded(info['seg_map_path'], 'label map'))
        return mmcv.imresize(image, (self.size, self.size), interpolation='area'), labels
