"""The thorough check of a data set: its files, its label maps, its classes."""
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Set

from mmcv.transforms import LoadAnnotations
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from ovseg.components import build_component
from ovseg.config import metrics_of
from ovseg.data_check.checked_labels import dataset_labels
from ovseg.data_check.class_order import order_difference
from ovseg.data_check.data_files import (
    image_files,
    in_place_of,
    missing_files,
    missing_folders,
    other_images,
    stray_label_maps,
    unfinished_conversion,
)
from ovseg.data_check.label_files import Finding, Labels, check_label_files, read_label_files
from ovseg.datasets.benchmarks import Benchmark, find_benchmark
from ovseg.sets import dataset_title
from ovseg.utils import shown
from ovseg.vocabulary import Vocabulary

ELSEWHERE = ('if the data is elsewhere, say where by the environment variable DATA_ROOT or by '
             '--cfg-options test_dataloader.dataset.data_root=FOLDER')
NO_IMAGES = 'set data_prefix.img_path and img_suffix of the data set to the folder and the ending of its images'
SAME_ORDER = "set model.vocabulary.names to the data set's list, in its order"


@dataclass(frozen=True)
class Report:
    """Findings of ``check_dataset``, and what it has looked at.

    Args:
        dataset: Class of the data set; its name, where it is a row of the table without a class of its own.
        data_root: Its folder.
        findings: What is wrong.
        images: How many it has.
        published: How many the published evaluation set has; 0 if unknown.
        read: How many label files, with their images, have been read.
        classes: How many classes it has.
        classes_seen: How many of them are in the label files that have been read.
    """

    dataset: str
    data_root: str
    findings: Sequence[Finding]
    images: int = 0
    published: int = 0
    read: int = 0
    classes: int = 0
    classes_seen: int = 0

    @property
    def complete(self) -> bool:
        """True if nothing was found that makes a measured score wrong."""
        return not any(finding.error for finding in self.findings)


def check_dataset(cfg: Config, seconds: Optional[float] = None, nproc: Optional[int] = None) -> Report:
    """Compare the data set of ``cfg.test_dataloader`` with what its config and its publication promise.

    Args:
        cfg: A config with ``test_dataloader`` and ``test_evaluator``; the class list of its model, if it has one, is compared.
        seconds: For how long image and label files are read; None reads all.
        nproc: How many are read at a time.

    Returns:
        The report; that of a data set of which a folder does not exist says only so.

    Raises:
        ValueError: the pipeline does not have one ``LoadAnnotations``, or the model's vocabulary is refused.
    """
    dataset_cfg = cfg.test_dataloader.dataset
    benchmark = find_benchmark(dataset_cfg)
    about: Dict[str, Any] = dict(dataset=dataset_title(dataset_cfg), data_root=dataset_cfg.get('data_root') or '',
                                 published=benchmark.images)
    folders = missing_folders(dataset_cfg)
    if folders:  # at the first of which a data set class would stop
        steps = [f'{ELSEWHERE}; if not', *benchmark.steps] if benchmark.known else [ELSEWHERE]
        finding = Finding('a part of the data set does not exist', steps, folders)
        return Report(findings=[finding], **about)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmseg')):
        dataset = DATASETS.build({**dataset_cfg, 'lazy_init': True})  # full_init fails on a data set without images
    labels = dataset_labels(dataset, label_not_scored(cfg))
    pairs = dataset.load_data_list()
    if any('seg_map_path' not in pair for pair in pairs):
        finding = Finding('the data set has no folder of label files', ['set data_prefix.seg_map_path of the data set'])
        return Report(findings=[finding], images=len(pairs), **about)
    missing = set(missing_files(image_files(pairs), dataset.backend_args))
    whole = [pair for pair in pairs if not missing & {pair['img_path'], pair['seg_map_path']}]
    files = read_label_files(whole, label_loader(dataset), seconds, nproc)
    command = repair_command(cfg) if benchmark.repaired else ''
    findings = [*_check_conversion(dataset_cfg), *_check_pairs(dataset, pairs, missing, benchmark, command),
                *_check_classes(cfg, labels), *check_label_files(files, labels, benchmark, len(files) == len(pairs), command)]
    if len(files) < len(whole):
        findings.append(Finding(f'{len(files)} of {len(whole)} label files and images were read in {seconds:g} s',
                                ['read all of them: --all'], error=False))
    seen = {value for file in files for value in file.values if value < len(labels.classes) and value != labels.ignore_index}
    return Report(findings=findings, images=len(pairs), read=len(files), classes=len(labels.classes), classes_seen=len(seen),
                  **about)


def label_loader(dataset: BaseSegDataset) -> LoadAnnotations:
    """The transform by which a data set loads label maps.

    Raises:
        ValueError: it does not have one.
    """
    loaders = [transform for transform in dataset.pipeline.transforms if isinstance(transform, LoadAnnotations)]
    if len(loaders) != 1:
        raise ValueError(f'the pipeline of {type(dataset).__name__} must have one LoadAnnotations, but has {len(loaders)}')
    return loaders[0]


def label_not_scored(cfg: Config) -> int:
    """The label that the metric leaves out; the data set's own ``ignore_index`` decides nothing."""
    return next((metric['ignore_index'] for metric in metrics_of(cfg.test_evaluator) if 'ignore_index' in metric), 255)


def repair_command(cfg: Config) -> str:
    """The command that writes a repaired copy of the data set of ``cfg``, without the options that say what to repair."""
    root = cfg.test_dataloader.dataset.get('data_root')
    command = f'ovseg convert repair {cfg.filename or "CONFIG"} --out {Path(root or "data").name}_repaired'
    if cfg.filename and Config.fromfile(cfg.filename).test_dataloader.dataset.get('data_root') != root:  # by --cfg-options
        command += f' --cfg-options test_dataloader.dataset.data_root={root}'
    return command


def _check_conversion(dataset_cfg: Mapping[str, Any]) -> List[Finding]:
    """A conversion that was stopped."""
    stopped = unfinished_conversion(dataset_cfg)
    return [Finding('the conversion of the data set was stopped', ['continue it:', stopped[1]], stopped[:1])] if stopped else []


def _check_pairs(dataset: BaseSegDataset, pairs: Sequence[Mapping[str, Any]], missing: Set[str], benchmark: Benchmark,
                 command: str) -> List[Finding]:
    """Compare the numbers of images, label files, and published images."""
    total, suffix = len(pairs), dataset.seg_map_suffix
    no_image, no_label = ([pair[key] for pair in pairs if pair[key] in missing] for key in ('img_path', 'seg_map_path'))
    strays, others = stray_label_maps(dataset, pairs), other_images(dataset)
    get = list(benchmark.steps) if benchmark.known else []  # what makes label files makes the images of many a set, too
    copy = ['add the missing files, or write a copy of the complete pairs, whatever the case of their endings:', command]
    findings = []
    if not total or benchmark.images not in (0, total):
        published = f', but {benchmark.images} in the published evaluation set' if benchmark.images else ''
        findings.append(Finding(f'there are {total} images{published}', get or [NO_IMAGES]))
    if no_image:
        findings.append(Finding(f'{len(no_image)} of {total} images do not exist', get or copy, no_image))
    if no_label:
        findings.append(Finding(f'{len(no_label)} of {total} label files do not exist{in_place_of(no_label[0], suffix)}',
                                get or copy, no_label))
    if strays:
        findings.append(Finding(f'{len(strays)} label files have no image', get or copy, strays))
    if others:
        findings.append(Finding(f'{len(others)} images do not end with {dataset.img_suffix} and are left out', get or copy,
                                others, error=not benchmark.known))
    return findings


def _check_classes(cfg: Config, labels: Labels) -> List[Finding]:
    """Compare the classes with the model's class list and with the label that the metric leaves out."""
    findings = []
    total, vocabulary = len(labels.classes), cfg.get('model', {}).get('vocabulary')
    words = None if vocabulary is None else build_component('vocabulary', Vocabulary, vocabulary)
    if words and len(words.synonyms) != total:
        findings.append(Finding(f'vocabulary.names={shown(words.names)} lists {len(words.synonyms)} classes, the data set has '
                                f'{total}', [SAME_ORDER]))
    elif words and order_difference(labels.classes, words.synonyms):
        findings.append(Finding(f'vocabulary.names={shown(words.names)} has another order than the data set: '
                                f'{order_difference(labels.classes, words.synonyms)}', [SAME_ORDER]))
    if labels.ignore_index < total:
        findings.append(Finding(f'the metric ignores label {labels.ignore_index}, which is a class '
                                f'({labels.classes[labels.ignore_index]!r})', ['set test_evaluator.ignore_index=65535']))
    return findings
