"""Checks of label maps in an evaluation: of a sample before the first image, and of each one while it is read."""
import logging
import os
from typing import Any, Dict, Iterable, Iterator, List, Optional

from mmcv.transforms import BaseTransform, Compose, LoadAnnotations, TestTimeAug
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.logging import print_log
from mmseg.datasets import BaseSegDataset

from ovseg.data_check.data_files import other_images, stray_label_maps
from ovseg.data_check.label_files import Labels, check_label_files, faults, label_file, read_label_files
from ovseg.datasets.benchmarks import find_benchmark
from ovseg.image_files import BROKEN
from ovseg.sets import dataset_title
from ovseg.utils import one_line, quoted

SECONDS = 3.0  # for which label maps are read before the first image
REPAIR = 'ovseg check-data CONFIG proposes how to repair such files'


class CheckedAnnotations(BaseTransform):
    """A data set's transform for label maps that refuses those whose score would be wrong.

    Args:
        load: The transform.
        labels: How label files are read.
    """

    def __init__(self, load: LoadAnnotations, labels: Labels) -> None:
        self.load, self.labels = load, labels

    def transform(self, results: Dict[str, Any]) -> Optional[Dict[str, Any]]:
        """See ``LoadAnnotations``.

        Raises:
            ValueError: the label map cannot be read, or has one of the ``faults``; names the file.
        """
        if 'seg_map_path' not in results:
            raise ValueError(f'{quoted(results["img_path"])} has no label map: the data set needs data_prefix.seg_map_path')
        path = results['seg_map_path']
        try:
            results = self.load.transform(results)
            labels = results['gt_seg_map']
            file = label_file(path, labels, tuple(results.get('ori_shape', labels.shape)[:2]))
        except FileNotFoundError:  # names the file
            raise
        except BROKEN as error:
            raise ValueError(f'cannot read label map {quoted(path)}: {one_line(error)}') from error
        found = faults(file, self.labels)
        if found:
            raise ValueError(f'label map {quoted(path)} {found[0].detail}. {REPAIR}')
        return results


def scored_without(metrics: Iterable[Any]) -> int:
    """The label that the first of ``metrics`` with an ``ignore_index`` leaves out; 255 where none has one."""
    return next((metric.ignore_index for metric in metrics if hasattr(metric, 'ignore_index')), 255)


def check_labels(dataset: Any, ignore_index: int) -> None:
    """Refuse a data set whose label maps would be scored wrongly, as far as a few seconds show, and check each one later.

    All label maps are read where ``SECONDS`` are enough for that; of larger data sets, some that are spread over them. Then
    ``check_while_read`` looks at each. Warns of files that the data set leaves out, and of label maps that hold one class only.

    Args:
        dataset: Built; one that is not mmseg's ``BaseSegDataset`` is taken as it is.
        ignore_index: The label that the metric leaves out.

    Raises:
        ValueError: label maps have ``faults``; names the first.
    """
    if not isinstance(dataset, BaseSegDataset):
        return
    loaders = [transform for compose in _composes(dataset.pipeline) for transform in compose.transforms
               if isinstance(transform, LoadAnnotations)]
    problem: List[Optional[str]] = [None]
    if loaders and not dataset.backend_args and is_main_process():
        problem = [_sampled_problem(dataset, loaders[0], ignore_index)]
    broadcast_object_list(problem)  # one process reads, all of them stop
    if problem[0] is not None:
        raise ValueError(problem[0])
    check_while_read(dataset, ignore_index)


def check_while_read(dataset: Any, ignore_index: int) -> None:
    """Let the built ``dataset`` refuse label maps whose score would be wrong, see ``CheckedAnnotations``."""
    if not isinstance(dataset, BaseSegDataset):
        return
    labels = dataset_labels(dataset, ignore_index)
    for compose in _composes(dataset.pipeline):
        compose.transforms = [CheckedAnnotations(transform, labels) if isinstance(transform, LoadAnnotations) else transform
                              for transform in compose.transforms]


def dataset_labels(dataset: BaseSegDataset, ignore_index: int) -> Labels:
    """The reading of a data set's label files: classes, ignored label and offset."""
    return Labels(dataset.metainfo['classes'], ignore_index, int(dataset.reduce_zero_label))


def _composes(pipeline: Compose) -> Iterator[Compose]:
    """A pipeline, and those of test-time augmentation in it."""
    yield pipeline
    for transform in pipeline.transforms:
        if isinstance(transform, TestTimeAug):
            yield from transform.subroutines


def _sampled_problem(dataset: BaseSegDataset, load: LoadAnnotations, ignore_index: int) -> Optional[str]:
    """Reason to refuse a sample of label maps, None for no reason; logs warnings."""
    cfg = dict(type=type(dataset).__name__, name=getattr(dataset, 'name', ''), data_root=dataset.data_root,
               data_prefix=dataset.data_prefix)
    name, benchmark, pairs = dataset_title(cfg), find_benchmark(cfg), dataset.load_data_list()
    if benchmark.images not in (0, len(pairs)):
        _warn(f'{name}: there are {len(pairs)} images, but {benchmark.images} in the published evaluation set, so that the '
              f'score is not that of the whole set.{benchmark.made_by}')
    for paths, what in ((stray_label_maps(dataset, pairs), 'label maps have no image'),
                        (other_images(dataset), f'images do not end with img_suffix={dataset.img_suffix!r}')):
        if paths:
            _warn(f'{name}: {len(paths)} {what} and are not scored, the first is {quoted(paths[0])}')
    # not only those of dataset.indices: what is said of all label maps needs many
    there = [pair for pair in pairs if all(os.path.exists(pair.get(key, '')) for key in ('img_path', 'seg_map_path'))]
    files = read_label_files(there, load, SECONDS, images=False)
    findings = check_label_files(files, dataset_labels(dataset, ignore_index), benchmark, everything=False)
    for finding in findings:
        if finding.error and finding.files:
            return f'{name}: {finding.what}, the first is {quoted(finding.files[0])}. {REPAIR}.{benchmark.made_by}'
        _warn(f'{name}: {finding.what}')
    return None


def _warn(text: str) -> None:
    print_log(text, 'current', logging.WARNING)
