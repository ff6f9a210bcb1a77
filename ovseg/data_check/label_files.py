"""Contents of label files, and errors in them."""
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from PIL import Image
from rich.progress import track

from ovseg.datasets.benchmarks import Benchmark
from ovseg.image_files import BROKEN
from ovseg.utils import one_line

MANY = 50  # label files from which on it means something that a class is in none of them
ANEW = 'move them elsewhere, and make them anew:'
SHOWN_VALUES = 5

# Errors of single files: what a finding says of several of them.
UNREADABLE, LOSSY, COLOUR, SIZE, CUT, OUTSIDE = FAULTS = (
    'cannot be read',
    'are JPEGs, whose compression changes labels',
    'are colour images or have an alpha channel',
    'have another size than their image',
    'have values over 8 bits, of which the pipeline keeps 8',
    'have values that are no class')


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with a data set.

    Args:
        what: A sentence.
        steps: Instructions for fixing it, in order.
        files: Files it is about.
        error: False where a measured score would be right all the same.
    """

    what: str
    steps: Sequence[str]
    files: Sequence[str] = ()
    error: bool = True


class Labels(NamedTuple):
    """Mapping by which a config reads its label files: class ``k`` is the file's value ``k + offset``."""

    classes: Sequence[str]
    ignore_index: int
    offset: int


class LabelFile(NamedTuple):
    """A label map that has been read, and the size of its image."""

    path: str
    image_size: Tuple[int, ...] = ()
    shape: Tuple[int, ...] = ()
    values: Tuple[int, ...] = ()  # the distinct labels, as the metric gets them
    cut: Tuple[float, ...] = ()  # the distinct values of the file that the loader has changed, because they need over 8 bits
    lossy: bool = False
    mode: str = ''  # Pillow's
    grey: bool = False  # a colour image of grey pixels
    unreadable: Optional[Tuple[str, str]] = None  # the file that could not be read, and why


class Fault(NamedTuple):
    """An error of one file: its kind, one of ``FAULTS``, and what to say of the file."""

    kind: str
    detail: str


def read_label_files(pairs: Sequence[Mapping[str, Any]], load: BaseTransform, seconds: Optional[float] = None,
                     nproc: Optional[int] = None, images: bool = True) -> List[LabelFile]:
    """Read images and label maps, in an order that is spread over ``pairs``, until ``seconds`` have passed, if they are given.

    ``pairs`` is a data set's ``load_data_list()``, ``load`` its transform for label maps. ``nproc`` threads read, because
    decoders run outside Python's lock; by default ``ThreadPoolExecutor`` chooses their number. Without ``images``, only the
    header of each image is read, and no progress is shown.
    """
    order = random.Random(0).sample(list(pairs), len(pairs))  # noqa: S311  an order is no secret
    end = float('inf') if seconds is None else time.monotonic() + seconds

    def read(pair: Mapping[str, Any]) -> Optional[LabelFile]:
        return _read(pair, load, images) if time.monotonic() < end else None

    with ThreadPoolExecutor(nproc) as pool:
        files = track(pool.map(read, order), 'reading', len(order), transient=True, disable=not images)
        return [file for file in files if file is not None]


def _read(pair: Mapping[str, Any], load: BaseTransform, decode: bool) -> LabelFile:
    reading = pair['img_path']
    try:
        with Image.open(reading) as image:
            size = upright_size(image)
            if decode:  # OpenCV gives half an image of a truncated file
                image.load()
        reading = pair['seg_map_path']
        seg_map = load.transform(dict(pair, seg_fields=[]))['gt_seg_map']
        return label_file(reading, seg_map, size)
    except BROKEN as error:
        return LabelFile(pair['seg_map_path'], unreadable=(reading, f'{type(error).__name__}: {one_line(error)}'))


def upright_size(image: Image.Image) -> Tuple[int, int]:
    """Height and width after the turn that the image's EXIF data asks for, as OpenCV turns it; nothing is decoded."""
    turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
    width, height = image.size
    return (width, height) if turned else (height, width)


def label_file(path: str, seg_map: np.ndarray, image_size: Tuple[int, ...]) -> LabelFile:
    """Facts about a label map that a pipeline has loaded from ``path`` as ``seg_map``.

    Raises:
        One of ``BROKEN``: the file cannot be read.
    """
    if not os.path.exists(path):  # in one of mmengine's storage backends
        return LabelFile(path, image_size, seg_map.shape, distinct(seg_map))
    with Image.open(path) as image:
        mode, lossy, cut = image.mode, image.format == 'JPEG', ()
        if mode[0] in 'IF' and seg_map.dtype == np.uint8:
            values = np.array(image)
            cut = tuple(np.unique(values[values != values.astype(np.uint8)]).tolist())
    grey = seg_map.ndim == 3 and (mode in ('LA', 'PA') or bool((seg_map[..., :3].T == seg_map[..., 0].T).all()))
    return LabelFile(path, image_size, seg_map.shape, distinct(seg_map), cut, lossy, mode, grey)


def distinct(labels: np.ndarray) -> Tuple[int, ...]:
    """The distinct values of an array of integers, in order; of 8-bit ones in a small part of the time of ``np.unique``."""
    if labels.dtype == np.uint8:
        counts = cv2.calcHist([labels.reshape(len(labels), -1)], [0], None, [256], [0, 256])
        return tuple(np.flatnonzero(counts).tolist())
    return tuple(np.unique(labels).tolist())


def faults(file: LabelFile, labels: Labels) -> List[Fault]:
    """The errors of a file that make its score wrong."""
    if file.unreadable:
        return [Fault(UNREADABLE, f'cannot be read ({file.unreadable[1]})')]
    found = []
    if file.lossy:
        found.append(Fault(LOSSY, 'is a JPEG, whose compression changes labels'))
    if len(file.shape) > 2:
        found.append(Fault(COLOUR, f'has pixels of type {file.mode}, not one integer each'))
    if file.shape[:2] != file.image_size:
        found.append(Fault(SIZE, f'has {" x ".join(map(str, file.shape[:2]))} pixels, but its image has '
                                 f'{" x ".join(map(str, file.image_size))}'))
    if file.cut:
        found.append(Fault(CUT, f'has values that do not fit in 8 bits, of which the pipeline keeps 8: {_listed(file.cut)}'))
    outside = outside_classes(file.values, labels)
    if outside and not {LOSSY, COLOUR, CUT} & {fault.kind for fault in found}:
        found.append(Fault(OUTSIDE, f'has values that are no class: {_listed([value + labels.offset for value in outside])}; '
                                    f'classes are {labels.offset} to {len(labels.classes) - 1 + labels.offset}, and '
                                    f'{labels.ignore_index} is not scored'))
    return found


def outside_classes(values: Iterable[int], labels: Labels) -> List[int]:
    """Those of ``values`` that are neither a class nor the label that is not scored."""
    return [value for value in values if value != labels.ignore_index and not 0 <= value < len(labels.classes)]


def _listed(values: Sequence[float]) -> str:
    return ', '.join(map(str, values[:SHOWN_VALUES])) + (', ...' if len(values) > SHOWN_VALUES else '')


def check_label_files(files: Sequence[LabelFile], labels: Labels, benchmark: Benchmark, everything: bool,
                      command: str = '') -> List[Finding]:
    """Errors in label files that ``read_label_files`` has read, and in their images.

    Args:
        files: What has been read.
        labels: How the config reads them.
        benchmark: Facts about the data set.
        everything: True if these are all files.
        command: Command that writes a repaired copy, to which its options are added; empty for a published data set, whose
            files are to be made anew.
    """
    findings = []
    found = [(file, faults(file, labels)) for file in sorted(files)]
    faulty = [file for file, its in found if its]
    steps = _repair_steps(faulty, labels, benchmark, command) if command else [ANEW, *benchmark.steps]
    unreadable = [file.unreadable for file, _ in found if file.unreadable]
    if unreadable:
        findings.append(Finding(f'{len(unreadable)} of {2 * len(files)} files {UNREADABLE} ({unreadable[0][1]})',
                                [f'get {"them" if len(unreadable) > 1 else "it"} anew'] if command else steps,
                                [path for path, _ in unreadable]))
    for kind in FAULTS[1:-1]:
        paths = [file.path for file, its in found if kind in {fault.kind for fault in its}]
        wide = kind is CUT and len(labels.classes) > 255
        if paths:
            findings.append(Finding(f'{len(paths)} of {len(files)} label files {kind}',
                                    ["load them by dict(type='LoadWideAnnotations')"] if wide else steps, paths))
    maps = [file for file, _ in found if len(file.shape) == 2 and not file.lossy and not file.cut]
    ignored = [file.path for file in maps if set(file.values) <= {labels.ignore_index}]
    if ignored:
        findings.append(Finding(f'{len(ignored)} of {len(files)} label files hold nothing but ignored pixels',
                                ['look at them; they may have been published so'], ignored, False))
    if maps:
        findings += _check_values(maps, labels, benchmark, everything, command, steps)
    return findings


def _repair_steps(faulty: Sequence[LabelFile], labels: Labels, benchmark: Benchmark, command: str) -> List[str]:
    """Command that writes a copy of a data set without the errors of files, and what to know before it is run."""
    kinds = {fault.kind for file in faulty for fault in faults(file, labels)}
    options, notes = [], []
    if COLOUR in kinds:
        grey = all(file.grey for file in faulty if len(file.shape) > 2)
        options.append('--rgb grey' if grey else '--rgb palette')
        if not grey:
            notes.append('add --map R,G,B=ID for colours that are not those of the published masks' if benchmark.palette else
                         'set metainfo.palette of the data set to the colour of each class; --map R,G,B=ID adds others, or '
                         'names all of them')
    if SIZE in kinds:
        options.append('--resize')
    if LOSSY in kinds:
        options.append('--nearest')
        if not options[0].startswith('--rgb palette'):
            options.append('--map 0=0 255=1' if len(labels.classes) == 2 else '--map VALUE=ID ...')
            notes.append('get the masks as PNG, if you can; if not, --map must list the values that they had before')
    values = sorted({value + labels.offset for file in faulty if not (file.lossy or file.cut) and len(file.shape) == 2
                     for value in outside_classes(file.values, labels)} | {value for file in faulty for value in file.cut})
    if values:
        options.append('--map ' + ' '.join(f'{value:g}={labels.ignore_index}' for value in values[:SHOWN_VALUES]))
        notes.append(f'this maps values that are no class to {labels.ignore_index}, which is not scored; write another class '
                     'behind the = where they mean one' + (', and add the other values' if values[SHOWN_VALUES:] else ''))
    return [*notes, 'write a repaired copy:', ' '.join([command, *options])]


def _check_values(maps: Sequence[LabelFile], labels: Labels, benchmark: Benchmark, everything: bool,
                  command: str, steps: List[str]) -> List[Finding]:
    """Labels that are too high, and a description of label files of other kinds."""
    total, many = len(labels.classes), len(maps) >= MANY
    seen = sorted({value for file in maps for value in file.values} - {labels.ignore_index})
    outside, highest = outside_classes(seen, labels), seen[-1] + labels.offset if seen else 0
    if len(seen) < 2 and total > 1 and not outside:
        return [_only_one_class(maps, labels, seen, command, [ANEW, *benchmark.steps])]
    # the narrowest kind of file that these values fit into
    kind, kinds_highest = min(((name, limit) for name, limit in benchmark.lookalikes if highest <= limit),
                              key=lambda lookalike: lookalike[1], default=('', total - 1 + labels.offset))
    if outside:
        what = f'label files {OUTSIDE}: {outside[0]} to {outside[-1]}'
        if outside == [total] and not labels.offset and not (kind and highest == kinds_highest):
            what += '; they seem to count classes from 1' + (f', or {total} means "not labelled"' if 0 in seen else '')
            if total < 256:  # LoadWideAnnotations does not renumber
                renumber = 'set reduce_zero_label=True for the data set'
                steps = [f'{renumber}, or', *steps] if 0 not in seen else [
                    f'if 0 means "not labelled" and classes begin at 1: {renumber}',
                    f'if {total} means "not labelled", as in CamVid:', *(steps[-2:] if command else steps)]
        elif kind:
            what += f'; they look like {kind}'
        chosen = [file.path for file in maps if outside_classes(file.values, labels)]
        return [Finding(f'{len(chosen)} of {len(maps)} {what}', steps, chosen)]
    if many and kinds_highest < total - 1 + labels.offset:
        return [Finding(f'no label file has a value above {highest}; they look like {kind}', steps)]
    if many and everything and labels.offset and seen[-1] < total - 1:
        return [Finding(f'no label file has the last class ({labels.classes[-1]!r}); they seem to count classes from 0',
                        ['set reduce_zero_label=False for the data set, or', *steps])]
    return []


def _only_one_class(maps: Sequence[LabelFile], labels: Labels, seen: Sequence[int], command: str,
                    anew: List[str]) -> Finding:
    """A data set of several classes whose label files hold one class at most."""
    chosen = [file.path for file in maps if file.values == (0, 255)]
    if chosen and not labels.offset and labels.ignore_index == 255:
        return Finding(f'all label files hold nothing but 0 and 255, and 255 is not scored: {labels.classes[0]!r} would be the '
                       'only class', ['if 255 means "not labelled": add images with other classes',
                                      f'if 255 means class 1 ({labels.classes[1]!r}): write a copy in which it is:',
                                      f'{command} --map 255=1'] if command else anew,
                       chosen, error=len(labels.classes) == 2)  # with more classes, 255 hardly stands for the second one
    held = f'class {seen[0]} and ' if seen else ''
    return Finding(f'all label files hold nothing but {held}ignored pixels',
                   ['look at them: other classes are nowhere in the ground truth'] if command else anew)
