"""Standard errors of mIoU, and confidence intervals of differences of two mIoUs."""
from typing import Tuple

import numpy as np

from ovseg.evaluation.areas import class_iou

RESAMPLES = 2000
LEVEL = 0.95


def resampling_weights(images: int, resamples: int, seed: int = 0) -> np.ndarray:
    """Number of times that each image is drawn in each resample, ``(resamples, images)``; rows sum to ``images``."""
    return np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), resamples).astype(np.float64)


def delta_interval(baseline: Tuple[np.ndarray, np.ndarray], setting: Tuple[np.ndarray, np.ndarray], absent: float = np.nan,
                   resamples: int = RESAMPLES, level: float = LEVEL, seed: int = 0) -> Tuple[float, float]:
    """Percentile interval of mIoU(setting) - mIoU(baseline) by the paired bootstrap over images (Efron and Tibshirani, 1993).

    Images are drawn with replacement, the same ones for both, and each mIoU is taken anew from the sums over what was drawn.

    Args:
        baseline: Intersections and unions per image and class, ``(n, K)`` each.
        setting: The same images in the same order.
        absent: See ``class_iou``.
        resamples: How often images are drawn.
        level: Share of the resamples inside the interval.
        seed: Of the draws, so that every row meets the same ones.

    Returns:
        Low and high end in points; NaN for a single image, which says nothing of others.
    """
    images = len(baseline[0])
    if images == 1:
        return np.nan, np.nan
    weights = resampling_weights(images, resamples, seed)
    before, after = (np.nanmean(class_iou(weights @ intersect, weights @ union, absent), axis=1)
                     for intersect, union in (baseline, setting))
    low, high = np.quantile(after - before, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mean_iou_error(intersect: np.ndarray, union: np.ndarray, total: int, absent: float = np.nan,
                   resamples: int = RESAMPLES, seed: int = 0) -> float:
    """Standard error of the mIoU of n images as an estimate of the mIoU of the ``total`` images that they are drawn from.

    The deviation of the bootstrap over images, times ``sqrt(1 - n / total)``, because images are drawn without replacement. It
    does not cover the bias of a small sample, in which rare classes are absent.

    Args:
        intersect: Intersections per image and class, ``(n, K)``.
        union: Unions per image and class, ``(n, K)``.
        total: Number of images of the data set, at least n.
        absent: See ``class_iou``.
        resamples: Number of resamples.
        seed: Seed of the draws.

    Returns:
        The error in points: 0 for all images, NaN for a single image of several.
    """
    images = len(intersect)
    if images == total:
        return 0.
    if images == 1:
        return np.nan
    weights = resampling_weights(images, resamples, seed)
    means = np.nanmean(class_iou(weights @ intersect, weights @ union, absent), axis=1)
    return float(means.std() * np.sqrt(1 - images / total))
