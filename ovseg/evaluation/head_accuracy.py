"""Accuracy of several heads side by side."""
from typing import Any, Dict, List, Sequence

from mmengine.evaluator import BaseMetric
from mmseg.registry import METRICS


@METRICS.register_module()
class HeadAccuracy(BaseMetric):
    """Top-1 accuracy in percent of every head of a ``TokenClassifier``: ``top1_NAME``.

    A sample with a score that is not finite counts as an error.
    """

    def process(self, data_batch: Any, data_samples: Sequence[Dict[str, Any]]) -> None:
        """See ``BaseMetric``."""
        self.results += [{name: bool(scores.isfinite().all()) and int(scores.argmax()) == sample['gt_label']
                          for name, scores in sample['pred_scores'].items()} for sample in data_samples]

    def compute_metrics(self, results: List[Dict[str, bool]]) -> Dict[str, float]:
        """See ``BaseMetric``."""
        return {f'top1_{name}': 100 * sum(result[name] for result in results) / len(results) for name in results[0]}
