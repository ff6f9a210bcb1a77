"""Contents of label files, and errors in them."""
import random
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from mmcv.transforms import BaseTransform
from PIL import Image, ImageOps
from rich.progress import track

from ovseg.datasets.benchmarks import Benchmark
from ovseg.image_files import BROKEN

MANY = 50  # label files from which on it means something that a class is in none of them


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
    """A label map that has been read, and the size of its image. ``unreadable``: the file that could not be read, and why."""

    path: str
    image_size: Tuple[int, ...] = ()
    shape: Tuple[int, ...] = ()
    values: Tuple[int, ...] = ()  # the distinct labels, as the metric gets them
    cut_to_8_bits: bool = False
    unreadable: Optional[Tuple[str, str]] = None


def read_label_files(pairs: Sequence[Mapping[str, Any]], load: BaseTransform, seconds: Optional[float] = None,
                     nproc: Optional[int] = None) -> List[LabelFile]:
    """Read images and label maps, in an order that is spread over ``pairs``, until ``seconds`` have passed, if they are given.

    ``pairs`` is a data set's ``load_data_list()``, ``load`` its transform for label maps. ``nproc`` threads read, because
    decoders run outside Python's lock; by default ``ThreadPoolExecutor`` chooses their number.
    """
    order = random.Random(0).sample(list(pairs), len(pairs))  # noqa: S311  an order is no secret
    end = float('inf') if seconds is None else time.monotonic() + seconds

    def read(pair: Mapping[str, Any]) -> Optional[LabelFile]:
        return _read(pair, load) if time.monotonic() < end else None

    with ThreadPoolExecutor(nproc) as pool:
        files = track(pool.map(read, order), 'reading', len(order), transient=True)
        return [file for file in files if file is not None]


def _read(pair: Mapping[str, Any], load: BaseTransform) -> LabelFile:
    reading = pair['img_path']
    try:
        with Image.open(reading) as image:
            # decodes all of it, while OpenCV gives half an image of a truncated file; turns it as OpenCV does
            width, height = ImageOps.exif_transpose(image).size
        reading = pair['seg_map_path']
        with Image.open(reading) as label:
            wide = label.mode.startswith('I')
        seg_map = load.transform(dict(pair, seg_fields=[]))['gt_seg_map']
    except BROKEN as error:
        return LabelFile(pair['seg_map_path'], unreadable=(reading, f'{type(error).__name__}: {error}'))
    values = tuple(np.unique(seg_map).tolist())
    return LabelFile(pair['seg_map_path'], (height, width), seg_map.shape, values, wide and seg_map.dtype == np.uint8)


def check_label_files(files: Sequence[LabelFile], labels: Labels, benchmark: Benchmark, everything: bool) -> List[Finding]:
    """Errors in label files that ``read_label_files`` has read, and in their images; ``everything``, if these are all."""
    findings = []
    anew = ('delete them', *benchmark.steps)

    def report(chosen: List[LabelFile], what: str, steps: Sequence[str], error: bool = True) -> None:
        if chosen:
            findings.append(Finding(f'{len(chosen)} of {len(files)} {what}', steps, [file.path for file in chosen], error))

    unreadable = [file.unreadable for file in files if file.unreadable]
    if unreadable:
        findings.append(Finding(f'{len(unreadable)} of {2 * len(files)} files cannot be read ({unreadable[0][1]})',
                                anew, [path for path, _ in unreadable]))
    maps = [file for file in files if len(file.shape) == 2]
    report([file for file in files if len(file.shape) > 2], 'label files are colour images', anew)
    report([file for file in maps if file.shape != file.image_size], 'label files have another size than their image', anew)
    wide = ["load them by dict(type='LoadWideAnnotations')"] if len(labels.classes) > 255 else anew
    report([file for file in maps if file.cut_to_8_bits], 'label files have 16 bits, of which the pipeline keeps 8', wide)
    ignored = [file for file in maps if set(file.values) <= {labels.ignore_index}]
    report(ignored, 'label files hold nothing but ignored pixels', ['look at them; they may have been published so'], False)
    if maps:
        findings += _check_values(maps, labels, benchmark, everything)
    return findings


def _check_values(maps: Sequence[LabelFile], labels: Labels, benchmark: Benchmark, everything: bool) -> List[Finding]:
    """Labels that are too high, and a description of label files of other kinds."""
    total, many, anew = len(labels.classes), len(maps) >= MANY, ['delete them', *benchmark.steps]
    seen = sorted({value for file in maps for value in file.values} - {labels.ignore_index})
    if len(seen) < 2:
        held = f'class {seen[0]} and ' if seen else ''
        return [Finding(f'all label files hold nothing but {held}ignored pixels', anew)]
    outside, highest = [value for value in seen if value >= total], seen[-1] + labels.offset
    # the narrowest kind of file that these values fit into
    kind, kinds_highest = min(((name, limit) for name, limit in benchmark.lookalikes if highest <= limit),
                              key=lambda lookalike: lookalike[1], default=('', total - 1 + labels.offset))
    if outside:
        what, steps = f'label files have values that are no class: {outside[0]} to {outside[-1]}', anew
        if outside == [total] and not labels.offset:
            what += '; they seem to count classes from 1'
            if total < 256:  # LoadWideAnnotations does not renumber
                steps = ['set reduce_zero_label=True for the data set, or', *anew]
        elif kind:
            what += f'; they look like {kind}'
        chosen = [file.path for file in maps if any(value in outside for value in file.values)]
        return [Finding(f'{len(chosen)} of {len(maps)} {what}', steps, chosen)]
    if many and kinds_highest < total - 1 + labels.offset:
        return [Finding(f'no label file has a value above {highest}; they look like {kind}', anew)]
    if many and everything and labels.offset and seen[-1] < total - 1:
        return [Finding(f'no label file has the last class ({labels.classes[-1]!r}); they seem to count classes from 0',
                        ['set reduce_zero_label=False for the data set, or', *anew])]
    return []
