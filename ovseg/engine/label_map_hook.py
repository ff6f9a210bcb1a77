"""Predictions as files."""
from typing import Any, Sequence

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from mmseg.structures import SegDataSample

from ovseg.evaluation.label_maps import file_values, label_map_paths, original_ids, write_label_map


@HOOKS.register_module()
class LabelMapHook(Hook):
    """Writes every predicted label map as PNG, with the ids of the data set's own annotation files.

    mmseg's ``IoUMetric(output_dir=...)`` writes 8 bits, which ids over 255 do not fit in, and gives images of one name in two
    folders one file. A run that is killed leaves whole files only. Pixels without a class, whose scores are not finite, are
    written as ``ignore_id``.

    Args:
        out_dir: Folder for the label maps, named as ``label_map_paths`` says.
    """

    def __init__(self, out_dir: str) -> None:
        self.out_dir = out_dir

    def before_test(self, runner: Runner) -> None:
        """See ``Hook``."""
        dataset = runner.test_dataloader.dataset
        paths = label_map_paths(dataset, self.out_dir)
        self.paths = {dataset.get_data_info(index)['img_path']: path for index, path in enumerate(paths)}
        self.ids = original_ids(dataset.metainfo)

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None,
                        outputs: Sequence[SegDataSample] = ()) -> None:
        """See ``Hook``."""
        for sample in outputs:
            labels = sample.pred_sem_seg.data.squeeze(0).cpu().numpy()
            write_label_map(self.paths[sample.img_path], file_values(labels, self.ids))
