"""Measurement of a preset's mIoU, on its data set or on a sample of the images."""
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, List, Mapping, Optional

import numpy as np

from ovseg.ablation.results import printed_metrics
from ovseg.ablation.rows import read_about, read_areas, row_file
from ovseg.ablation.runner import Pass, build_dataset, claimed_folder, plan, run, unfinished_groups
from ovseg.ablation.settings import Setting, single_setting
from ovseg.ablation.statistics import mean_iou_error
from ovseg.components import named_errors
from ovseg.config import read_config
from ovseg.reproduce.presets import Preset
from ovseg.vocabulary.word_record import word_line

INDICES = 'test_dataloader.dataset.indices'
TOLERANCE = 0.5  # points of mIoU
SIGMAS = 2  # standard errors of a sample that are added to the tolerance
PER_CLASS = 5  # images of a class that a sample needs: with fewer, its standard error is too small, and classes are absent
SEED = 0


@dataclass(frozen=True)
class Measurement:
    """The score of a preset.

    Attributes:
        images: Number of images it was measured on.
        total: Number of images of the data set.
        score: mIoU in percent, as ``tools/test.py`` prints it.
        error: Standard error of ``score`` as an estimate of that of the data set: 0 for the whole data set, NaN for one image.
        class_list: The class list and the templates, see ``word_line``.
        seconds: Time from loading the weights to the score; None where an earlier run had finished.
        per_class: Number of images with a class in their ground truth, the median of the classes that occur.
    """
    images: int
    total: int
    score: float
    error: float
    class_list: str
    seconds: Optional[float]
    per_class: float


@dataclass(frozen=True)
class Task:
    """A preset that can be measured: its data, weights and settings have been checked.

    Attributes:
        preset: The preset.
        setting: Its config with the options.
        folder: Holds the areas of the classes per image, from which an interrupted run continues.
        total: Number of images of the data set.
        passes: The passes over the data set that are left to do, without their models.
    """
    preset: Preset
    setting: Setting
    folder: Path
    total: int
    passes: List[Pass]


def sampled_indices(total: int, count: int) -> List[int]:
    """Indices of ``count`` of ``total`` images: one drawn from each of ``count`` stretches, with a fixed seed.

    The lengths of the stretches differ by at most one image. Neighbours in a data set are often alike (a city, a scene
    category); such a sample has images of all parts of it.
    """
    edges = np.arange(count + 1) * total // count  # integers, so that no index is in two stretches
    return [int(index) for index in np.random.default_rng(SEED).integers(edges[:-1], edges[1:])]


def prepare(preset: Preset, options: Mapping[str, Any], subset: Optional[int], work_dir: Path) -> Task:
    """Check that a preset can be measured: its data set is complete, its weights load, and its class list fits.

    Args:
        preset: The preset.
        options: Settings by dotted key, as of ``--cfg-options``.
        subset: Number of images to measure on; None, or more than there are, for all.
        work_dir: The folder of the preset is made in it.

    Raises:
        FileNotFoundError: data or weights are missing.
        ValueError: a setting is wrong.
    """
    total = len(build_dataset(read_config(preset.config, options)))
    if subset is not None and subset < total:
        options = {**options, INDICES: sampled_indices(total, subset)}
    setting = single_setting(str(preset.config), options)
    folder = work_dir / f'{preset.config.stem}-{zlib.crc32(setting.command.encode()):08x}'
    return Task(preset, setting, folder, total, _passes(setting, folder))


def measure(task: Task) -> Measurement:
    """Evaluate what an earlier run has left of a task.

    Raises:
        BlockingIOError: another process is measuring the same.
        OSError: an image cannot be read, or the folder cannot be written into.
    """
    setting, start = task.setting, time.monotonic()
    with claimed_folder(task.folder, [setting]):
        passes = task.passes
        if [one.settings for one in passes] != unfinished_groups([setting], task.folder):  # rows have changed meanwhile
            passes = _passes(setting, task.folder)
        run(passes, task.folder)
    path = row_file(task.folder, setting.digest)
    areas = read_areas(path)
    nan_to_num = setting.metric.get('nan_to_num')
    absent = np.nan if nan_to_num is None else 100 * nan_to_num
    occurrences = (areas.ground_truth > 0).sum(axis=0)
    return Measurement(
        len(areas.images), task.total, printed_metrics(areas, nan_to_num)['mIoU'],
        mean_iou_error(areas.intersect, areas.union, task.total, absent),
        word_line(read_about(path)['words']), time.monotonic() - start if passes else None,
        float(np.median(occurrences[occurrences > 0])))


def verdict(preset: Preset, measurement: Measurement) -> str:
    """``'no published score'``, ``'sample too small'``, ``'within tolerance'`` or ``'outside'``.

    The tolerance of a sample of the images is larger by ``SIGMAS`` standard errors. A sample is too small if half of the
    classes occur in fewer than ``PER_CLASS`` of its images.
    """
    if preset.score is None:
        return 'no published score'
    sampled = measurement.images < measurement.total
    if sampled and measurement.per_class < PER_CLASS:
        return 'sample too small'
    sampling = SIGMAS * measurement.error if sampled else 0
    distance = abs(measurement.score - preset.score)
    return 'outside' if distance > TOLERANCE + sampling + 1e-9 else 'within tolerance'


def _passes(setting: Setting, folder: Path) -> List[Pass]:
    """Passes that are left to do, without the model that ``plan`` has built: those of all presets might not fit into memory."""
    with named_errors(setting.config):
        passes = plan([setting], folder)
    for one in passes:
        one.model = None
    return passes
