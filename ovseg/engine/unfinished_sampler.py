"""A sampler of the images that a killed run has left."""
from typing import Iterator, Optional

from mmengine.dataset import DefaultSampler
from mmengine.dist import broadcast_object_list
from mmengine.logging import print_log
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATA_SAMPLERS

from ovseg.evaluation.label_maps import label_map_paths


@DATA_SAMPLERS.register_module()
class UnfinishedSampler(DefaultSampler):
    """The images whose label map is not in a folder yet, each once, shared among the processes.

    Args:
        dataset: One of mmseg's.
        out_dir: The folder of ``LabelMapHook``.
        seed: Unused; every mmengine sampler gets one.
    """

    def __init__(self, dataset: BaseSegDataset, out_dir: str, seed: Optional[int] = None) -> None:
        unfinished = [[index for index, path in enumerate(label_map_paths(dataset, out_dir)) if not path.is_file()]]
        broadcast_object_list(unfinished)  # a process that looks later may see label maps of this run
        self.unfinished, = unfinished
        super().__init__(self.unfinished, shuffle=False, seed=seed, round_up=False)
        print_log(f'{out_dir} holds {len(dataset) - len(self.unfinished)} of {len(dataset)} label maps', 'current')

    def __iter__(self) -> Iterator[int]:
        return (self.unfinished[position] for position in super().__iter__())
