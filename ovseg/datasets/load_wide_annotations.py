"""Reading label maps of more than 255 classes."""
from typing import Any, Dict

import mmcv
import numpy as np
from mmengine import fileio
from mmseg.datasets.transforms import LoadAnnotations
from mmseg.registry import TRANSFORMS

from ovseg.utils import quoted


@TRANSFORMS.register_module()
class LoadWideAnnotations(LoadAnnotations):
    """mmseg's ``LoadAnnotations`` for 16-bit label files, which mmseg cuts down to 8 bits.

    Labels stay as they are in the file: class indices, and 65535 where nothing is labelled. 255 is a class here, so the metric
    has to be told: ``IoUMetric(ignore_index=65535)``.
    """

    def _load_seg_map(self, results: Dict[str, Any]) -> None:
        if self.reduce_zero_label or results['reduce_zero_label'] or results['label_map'] is not None:
            raise ValueError('LoadWideAnnotations cannot renumber labels: leave out reduce_zero_label and metainfo.classes')
        path = results['seg_map_path']
        content = fileio.get(path, backend_args=self.backend_args)
        try:
            labels = mmcv.imfrombytes(content, flag='unchanged', backend=self.imdecode_backend)
        except OSError as error:
            raise ValueError(f'cannot read label map {quoted(path)}: the file is empty, corrupt or no image') from error
        if labels.ndim != 2 or labels.dtype.itemsize < 2:
            raise ValueError(f'{quoted(path)} is no 16-bit label map: its values are {labels.dtype}, its shape is '
                             f'{labels.shape}')
        results['gt_seg_map'] = labels.astype(np.int64)
        results['seg_fields'].append('gt_seg_map')
