"""Finished rows to figures."""
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
import torch
from mmseg.evaluation import IoUMetric

from ovseg.ablation.rows import Areas, read_about, read_areas, read_changed, row_file
from ovseg.ablation.settings import Setting
from ovseg.ablation.statistics import delta_interval
from ovseg.evaluation.areas import class_iou


@dataclass(frozen=True)
class Result:
    """The figures of one row.

    Attributes:
        setting: What was run.
        images: On how many.
        metrics: ``aAcc``, ``mIoU`` and ``mAcc`` in percent with two decimals, as ``tools/test.py`` prints them.
        iou: Per class in percent, ``(K,)``, NaN for a class that is neither in the ground truth nor in the prediction.
        class_delta: ``iou`` less the baseline's, ``(K,)``.
        delta: mIoU less the baseline's, in points.
        low: Low end of its interval.
        high: High end.
        words: The ``word_record`` of the vocabulary.
        classes: Names of the data set's classes, K of them.
        changed: Share of the image area whose label differs from the baseline's, in percent; NaN where the two have other
            weights or another test pipeline.
    """
    setting: Setting
    images: int
    metrics: Dict[str, float]
    iou: np.ndarray
    class_delta: np.ndarray
    delta: float
    low: float
    high: float
    words: Dict[str, Any]
    classes: List[str]
    changed: float

    @property
    def limited(self) -> str:
        """Note on a row that is not of the whole data set; empty for others."""
        indices = self.setting.cfg.test_dataloader.dataset.get('indices')
        if indices is None or (isinstance(indices, int) and indices > self.images):
            return ''
        return f'first {indices} images only' if indices == self.images else f'{self.images} chosen images only'


def read_results(settings: Sequence[Setting], folder: Path) -> List[List[Result]]:
    """The finished rows of each benchmark whose baseline, its first setting, is finished."""
    benchmarks: Dict[str, List[Setting]] = {}
    for setting in settings:
        benchmarks.setdefault(setting.benchmark, []).append(setting)
    found = []
    for rows in benchmarks.values():
        finished = [setting for setting in rows if row_file(folder, setting.digest).is_file()]
        if rows[0] in finished:
            baseline = read_areas(row_file(folder, rows[0].digest))
            found.append([_result(setting, baseline, rows[0].digest, row_file(folder, setting.digest)) for setting in finished])
    return found


def printed_metrics(areas: Areas, nan_to_num: Optional[int]) -> Dict[str, float]:
    """Metrics of ``IoUMetric`` from areas."""
    intersect, union, predicted, ground_truth = (
        torch.from_numpy(area).sum(dim=0).double()
        for area in (areas.intersect, areas.union, areas.predicted, areas.ground_truth))
    found = IoUMetric.total_area_to_metrics(intersect, union, predicted, ground_truth, ['mIoU'], nan_to_num)
    return {name: round(float(np.round(np.nanmean(found[key]) * 100, 2)), 2)
            for name, key in dict(aAcc='aAcc', mIoU='IoU', mAcc='Acc').items()}


def _result(setting: Setting, baseline: Areas, digest: str, path: Path) -> Result:
    areas = read_areas(path)
    nan_to_num = setting.metric.get('nan_to_num')
    absent = np.nan if nan_to_num is None else 100 * nan_to_num
    before, after = (class_iou(rows.intersect.sum(axis=0), rows.union.sum(axis=0), absent) for rows in (baseline, areas))
    low, high = delta_interval((baseline.intersect, baseline.union), (areas.intersect, areas.union), absent)
    about = read_about(path)
    return Result(setting, len(areas.images), printed_metrics(areas, nan_to_num), after, after - before,
                  float(np.nanmean(after) - np.nanmean(before)), low, high, about['words'], about['classes'],
                  100 * read_changed(path, digest))
