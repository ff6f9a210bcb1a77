"""Benchmarks' label maps out of raw annotations: what the labels become, and how the files are written."""
import shlex
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Callable, Iterator, Sequence, Tuple

import cv2
import numpy as np
from rich.progress import track

from ovseg.claims import LOCK, claim
from ovseg.extras import missing_package
from ovseg.files import write_image, write_text
from ovseg.image_files import decoded
from ovseg.utils import check_integer, one_line, quoted

ADE20K_847_IDS = Path(__file__).parent / 'resources' / 'ade20k_847_ids.txt'
UNLABELLED = 65535  # in 16-bit label maps
MARKER = '.made_by_ovseg'
UNFINISHED = '.unfinished'  # holds the command that continues a conversion

# COCO numbers its 80 things 1 .. 90, COCO-Stuff one less; these of COCO-Stuff's ids belong to no class.
COCO_GAPS = (11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90)


def coco_object_labels(label_map: np.ndarray) -> np.ndarray:
    """COCO-Object's labels of a COCO-Stuff 164k label map as in stuffthingmaps_trainval2017.zip, both ``(H, W)`` of 8 bits.

    Things (ids 0 … 90 without gaps) become 1 … 80; stuff (91 … 181) and unlabelled pixels (255) become the background, 0.
    That unlabelled pixels count as background is how GroupViT, and after it SCLIP and NACLIP, made the benchmark.

    Raises:
        ValueError: not a label map, or ids that COCO-Stuff does not have.
    """
    if label_map.ndim != 2 or label_map.dtype != np.uint8:
        raise ValueError(f'not an 8-bit label map: {label_map.dtype} of shape {label_map.shape}')
    unknown = np.setdiff1d(np.unique(label_map), [*(id_ for id_ in range(182) if id_ not in COCO_GAPS), 255])
    if unknown.size:
        raise ValueError(f'COCO-Stuff has no ids {unknown.tolist()}')
    things = [id_ for id_ in range(91) if id_ not in COCO_GAPS]
    table = np.zeros(256, np.uint8)
    table[things] = range(1, 81)
    return table[label_map]


@cache
def _ade20k_847_table() -> np.ndarray:
    """Class (or ``UNLABELLED``) of each object id that a ``_seg.png`` file can express."""
    table = np.full(26 * 256, UNLABELLED, np.uint16)
    table[[int(id_) for id_ in ADE20K_847_IDS.read_text().split()]] = range(847)
    return table


def ade20k_847_labels(segmentation: np.ndarray) -> np.ndarray:
    """ADE20K-847's labels, as MaskFormer defined them: ``(H, W)``, 16 bits, 0 … 846, and 65535 for objects of other classes.

    ``segmentation (H, W, 3)`` is the 8-bit RGB of a ``*_seg.png`` file; the object id is ``R // 10 · 256 + G``.

    Raises:
        ValueError: not an RGB image.
    """
    if segmentation.ndim != 3 or segmentation.shape[2] != 3 or segmentation.dtype != np.uint8:
        raise ValueError(f'not an 8-bit RGB segmentation: {segmentation.dtype} of shape {segmentation.shape}')
    red, green = segmentation[..., 0].astype(np.intp), segmentation[..., 1]
    return _ade20k_847_table()[red // 10 * 256 + green]


def context459_labels(label_map: np.ndarray) -> np.ndarray:
    """Context-459's labels ``(H, W)``, 16 bits: 0 … 458, and 65535 where nothing is labelled.

    ``label_map (H, W)`` is a ``LabelMap`` of PASCAL-Context's full annotation, integers 1 … 459; 0 is unlabelled.

    Raises:
        ValueError: not a label map, or numbers outside 0 … 459.
    """
    if label_map.ndim != 2 or label_map.dtype.kind not in 'ui':
        raise ValueError(f'LabelMap is no label map: {label_map.dtype} of shape {label_map.shape}')
    if label_map.min() < 0 or label_map.max() > 459:
        raise ValueError(f'LabelMap has numbers from {label_map.min()} to {label_map.max()}; PASCAL-Context has 0 to 459')
    return label_map.astype(np.uint16) - np.uint16(1)  # 0 wraps around to 65535


def convert_coco_object(source: Path, target: Path) -> None:
    """Write COCO-Object's label map of the COCO-Stuff label map ``source``."""
    write_image(coco_object_labels(np.array(decoded(source))), target)


def convert_ade20k_847(source: Path, image: Path, label_map: Path, short_side: int = 512) -> None:
    """Write ADE20K-847's image and label map of the image ``source`` and the ``_seg.png`` file beside it.

    As MaskFormer does: images whose short side is above ``short_side`` are scaled down to it.

    Raises:
        ValueError: image and segmentation differ in size.
    """
    picture = np.array(decoded(source))
    labels = ade20k_847_labels(np.array(decoded(source.with_name(f'{source.stem}_seg.png'))))
    height, width = picture.shape[:2]
    if labels.shape != (height, width):
        raise ValueError(f'the picture is {height} x {width} pixels, its _seg.png {labels.shape[0]} x {labels.shape[1]}')
    shorter = min(height, width)
    if shorter > short_side:
        # the division comes first, as in MaskFormer: the order decides how halves are rounded
        size = round(width / shorter * short_side), round(height / shorter * short_side)
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)
        labels = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
    write_image(picture, image)
    write_image(labels, label_map, compression='tiff_adobe_deflate')


def convert_context459(source: Path, target: Path) -> None:
    """Write Context-459's label map of the ``.mat`` file ``source``.

    Raises:
        ImportError: SciPy, which reads such files, is not installed.
        ValueError: the file has no ``LabelMap``.
    """
    try:
        from scipy.io import loadmat  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError as error:
        raise missing_package('reading .mat files', 'SciPy', 'converters') from error
    content = loadmat(source, variable_names=['LabelMap'])
    if 'LabelMap' not in content:
        raise ValueError('the file has no LabelMap')
    write_image(context459_labels(content['LabelMap']), target, compression='tiff_adobe_deflate')


@contextmanager
def claim_folder(folder: Path, converter: str) -> Iterator[None]:
    """Make ``folder``, or make sure that it is ``converter``'s own, and keep it for this process; see ``claim``.

    Until the context ends without an error, the folder has the file ``UNFINISHED``, by which checks of data sets know that a
    conversion was stopped.

    Raises:
        BlockingIOError: another process is converting into the folder.
        ValueError: there is something in the folder that ``converter`` did not put there.
    """
    marker = folder / MARKER
    made_by = marker.read_text().strip() if marker.is_file() else None
    if made_by is None and folder.is_dir() and any(path.name != LOCK for path in folder.iterdir()):
        raise ValueError(f'{quoted(folder)} is not empty and was not made by {converter}: nothing is written there. '
                         'Name another folder. If this one has converted files, ovseg check-data CONFIG tells if they are '
                         'complete')
    if made_by not in (None, converter):
        raise ValueError(f'{quoted(folder)} was made by {made_by}, not by {converter}: nothing is written there')
    with claim(folder):
        marker.write_text(f'{converter}\n')
        write_text(folder / UNFINISHED, ' '.join([sys.argv[0], *map(shlex.quote, sys.argv[1:])]))
        yield
        (folder / UNFINISHED).unlink()


def convert_all(convert: Callable[..., None], jobs: Sequence[Tuple[Path, ...]], nproc: int, title: str) -> int:
    """Call ``convert(source, *targets)`` for every job whose targets are not all there yet.

    Args:
        convert: Reads a file and writes others, each in one step.
        jobs: ``(source, target, ...)``.
        nproc: Files worked on at a time; threads, since decoding, encoding and resizing run outside Python's lock.
        title: Shown in front of the progress bar.

    Returns:
        How many jobs were done; the others had been done before.

    Raises:
        ValueError: a job failed; names its source. Jobs in progress are finished, the others not begun.
    """
    check_integer('nproc', nproc, 1)
    missing = [job for job in jobs if not all(target.exists() for target in job[1:])]

    def run(job: Tuple[Path, ...]) -> None:
        try:
            convert(*job)
        except Exception as error:  # whatever a decoder raises (zlib, SciPy, PIL differ), the file is named and the run ends
            raise ValueError(f'cannot convert {quoted(job[0])}: {one_line(error)}') from error

    with ThreadPoolExecutor(nproc) as pool:
        for _ in track(pool.map(run, missing), title, len(missing)):
            pass
    return len(missing)
