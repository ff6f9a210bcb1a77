"""Files of a row of the table of data sets out of its archive: patches of images, and masks that become label maps."""
import json
import logging
import re
from contextlib import ExitStack
from pathlib import Path
from typing import List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from mmengine.logging import print_log
from PIL import Image

from ovseg.data_check.conversion import UNFINISHED, claim_folder, convert_all
from ovseg.data_check.label_files import upright_size
from ovseg.data_check.repair import Repair, link_image, repaired_labels
from ovseg.datasets.benchmarks import find_benchmark
from ovseg.files import write_image, write_text
from ovseg.image_files import decoded
from ovseg.sets import Colour, Conversion, Row
from ovseg.utils import check_integer, quoted, read_small_text
from ovseg.vocabulary.class_lists import read_class_list

CONVERTER = 'sets.py'
IGNORED = 255
LARGEST_LIST = 2 ** 24  # bytes
OPTIONS = '.options'  # holds those by which the label maps of a folder were made

SIDES = ('top', 'left', 'bottom', 'right')
Window = Tuple[int, int, int, int]  # its SIDES


class Source(NamedTuple):
    """An image and its mask in an archive, and the name of the result without ending."""

    image: Path
    mask: Path
    name: str


def find_sources(row: Row, archive: Path) -> List[Source]:
    """The images and masks that a row takes from its archive, in the order of their paths.

    Raises:
        FileNotFoundError: there are none, the folder, the list of images, a listed image or a mask is missing; says how to get
            them.
    """
    if not archive.is_dir():
        raise FileNotFoundError(f'there is no folder {quoted(archive)}')
    conversion = _conversion(row)
    pattern = re.compile('(.*)'.join(map(re.escape, conversion.images.split('*'))).replace('(.*)', '([^/]*)'))
    wanted = _wanted(conversion, archive)
    sources, found = [], set()
    for image in sorted(archive.glob(conversion.images)):
        matched = pattern.fullmatch(image.relative_to(archive).as_posix())
        groups = matched.groups() if matched else ()
        if not groups or (wanted is not None and groups[-1] not in wanted):
            continue
        masks = [archive / ''.join(text + group for text, group in zip(path.split('*'), (*groups, '')))
                 for path in (conversion.masks, conversion.other_masks) if path]
        found.add(groups[-1])
        sources.append(Source(image, next(filter(Path.is_file, masks), masks[0]), conversion.name.format(*groups)))
    if not sources:
        source = row.source.format(root=archive, data=archive.parent)
        of_list = ' of the list' if any(archive.glob(conversion.images)) else ''
        raise FileNotFoundError(f'{quoted(archive)} has no {conversion.images}{of_list}; '
                                f'SRC must be the folder of {row.title}: {source}')
    lacking = sorted((wanted or set()) - found)
    if lacking and not conversion.partial:
        raise FileNotFoundError(f'{len(lacking)} of {len(wanted or ())} images of the evaluation set of {row.title} are not in '
                                f'{quoted(archive)}, the first is {lacking[0]!r}: get its files anew')
    if lacking:
        print_log(f'{row.title}: {len(lacking)} of {len(wanted or ())} listed images are not in {quoted(archive)}, the first '
                  f'is {lacking[0]!r}', 'current', logging.WARNING)
    absent = [source.mask for source in sources if not source.mask.is_file()]
    if absent:
        raise FileNotFoundError(f'{len(absent)} of {len(sources)} masks of {row.title} do not exist, the first is '
                                f'{quoted(absent[0])}: get its files anew')
    return sources


def _conversion(row: Row) -> Conversion:
    if row.conversion is None:
        steps = ' '.join(find_benchmark(row.dataset()).convert) or 'its files are used as they are'
        raise ValueError(f'name={row.name!r} is not converted by this command: {steps}')
    return row.conversion


def _wanted(conversion: Conversion, archive: Path) -> Optional[set]:
    """Names of the images that are taken; None for all."""
    if not conversion.only_in:
        return set(conversion.only) or None
    ending = Path(conversion.images).suffix
    lines = read_small_text('list of images', archive / conversion.only_in, LARGEST_LIST).split()
    return {line[:-len(ending)] if line.endswith(ending) else line for line in lines}


def patch_windows(size: Tuple[int, int], patch: Tuple[int, int], overlap: int, pad: bool) -> List[Window]:
    """The patches of an image, row by row.

    Args:
        size: Height and width of the image.
        patch: Those of a patch.
        overlap: Pixels that neighbouring patches share.
        pad: Patches begin at multiples of the step and may reach over the image; otherwise those at its end are moved back.
    """
    starts = []
    for length, side in zip(size, patch):
        ends = range(0, length, side - overlap)
        starts.append(list(ends) if pad else sorted({max(min(start, length - side), 0) for start in ends}))
    return [(top, left, top + patch[0], left + patch[1]) for top in starts[0] for left in starts[1]]


def cut_patch(pixels: np.ndarray, window: Window, fill: int) -> np.ndarray:
    """The part of ``pixels``, ``(H, W)`` or ``(H, W, 3)``, in a window; outside of the image it is ``fill``."""
    top, left, bottom, right = window
    inside = pixels[top:bottom, left:right]
    result = np.full((bottom - top, right - left, *pixels.shape[2:]), fill, pixels.dtype)
    result[:inside.shape[0], :inside.shape[1]] = inside
    return result


def mask_repair(row: Row, values: Mapping[int, int], colours: Mapping[Colour, int], nearest: bool = False) -> Repair:
    """The changes that make label maps of a row's masks; ``values`` and ``colours`` are added to those of the row.

    ``nearest`` takes the nearest of them for all others, too.

    Raises:
        ValueError: colours for grey masks, or values for masks of colours.
    """
    conversion = _conversion(row)
    if (colours and not conversion.colours) or (values and conversion.colours):
        kind, form = ('colours', 'R,G,B=ID') if conversion.colours else ('grey values', 'OLD=NEW')
        raise ValueError(f'--map: the masks of {row.title} have {kind}: {form}')
    classes = tuple(range(len(read_class_list(row.class_list)) + int(row.reduce_zero_label)))
    return Repair({**conversion.values, **values}, {**conversion.colours, **colours},
                  'palette' if conversion.colours else 'grey' if conversion.values else None,
                  nearest=conversion.nearest or nearest, allowed=(*classes, IGNORED), ignored=IGNORED)


def label_map(source: Source, repair: Repair) -> np.ndarray:
    """The label map ``(H, W)`` uint8 of a mask.

    Raises:
        ValueError: the mask has other values, colours, or another size than its image; says by which option they are given.
    """
    with Image.open(source.image) as image:
        size = upright_size(image)
    mask = _expected_mode(decoded(source.mask, 'mask'), source, repair)
    if mask.size[::-1] != size:
        raise ValueError(f'its mask {quoted(source.mask)} has {mask.size[1]} x {mask.size[0]} pixels, and it has '
                         f'{size[0]} x {size[1]}: one of them is of another version; get both anew')
    if not repair.colours and IGNORED not in repair.values and mask.convert('I').getextrema()[1] == IGNORED:
        raise ValueError(f'its mask {quoted(source.mask)} has the value {IGNORED}, which the published masks do not have: '
                         f'--map {IGNORED}=LABEL says what it means, and --map {IGNORED}={IGNORED} that it is not scored')
    try:
        return repaired_labels(mask, size, 1, repair)
    except ValueError as error:
        raise ValueError(f'its mask {quoted(source.mask)} has another content than expected, {error}') from error


def _expected_mode(mask: Image.Image, source: Source, repair: Repair) -> Image.Image:
    """A mask whose pixels are grey values or colours as a row expects them, not indices of a palette or bits.

    Raises:
        ValueError: the mask has been converted already: its values are labels.
    """
    if mask.mode in ('1', 'P') and (repair.nearest or repair.colours):
        mask = mask.convert('RGB' if repair.colours else 'L')
    labels = mask.mode not in ('RGB', 'RGBA') if repair.colours else repair.nearest and mask.convert('L').getextrema()[1] == 1
    if labels:
        found = 'grey values, not colours' if repair.colours else f'the values 0 and 1, not {sorted(repair.values)}'
        raise ValueError(f'its mask {quoted(source.mask)} has {found}: it has been converted already, or is of another version')
    return mask


def convert_set(row: Row, archive: Path, out: Path, nproc: int, values: Optional[Mapping[int, int]] = None,
                colours: Optional[Mapping[Colour, int]] = None, nearest: bool = False) -> Tuple[int, int]:
    """Write a row's label maps and patches out of its archive; whole images become links. The archive is only read.

    Every file is written in one step, label maps before their images, and those that are there are left as they are, so that a
    conversion that was stopped goes on where it stopped.

    Args:
        row: With a ``conversion``.
        archive: Folder of what was downloaded.
        out: Folder of the data set; may be the same.
        nproc: Images worked on at a time.
        values: Labels of further values of grey masks.
        colours: Labels of further colours.
        nearest: The nearest value or colour is taken for all others.

    Returns:
        How many images of the archive were converted, and how many there are.

    Raises:
        FileNotFoundError: see ``find_sources``.
        ValueError: see ``label_map`` and ``claim_folder``; names the image. Or ``nproc`` is not positive, or ``out`` has label
            maps of other options; then nothing is written.
    """
    check_integer('--nproc', nproc, 1)
    conversion, repair = _conversion(row), mask_repair(row, values or {}, colours or {}, nearest)
    sources = {source.image: source for source in find_sources(row, archive)}
    jobs = [(source.image, *_targets(row, source, out)) for source in sources.values()]
    given = {path.resolve() for source in sources.values() for path in source[:2]}
    folders = [folder for folder in (out / row.img_path, out / row.seg_map_path) if (folder / UNFINISHED).is_file()
               or any(folder in target.parents and target.resolve() not in given for job in jobs for target in job[1:])]

    def convert(image: Path, *targets: Path) -> None:
        labels = label_map(sources[image], repair)
        for target in targets:
            target.parent.mkdir(parents=True, exist_ok=True)
        if conversion.patch is None:
            write_image(labels, targets[0])
            link_image(image, targets[1])
            return
        pixels = np.array(decoded(image).convert('RGB'))
        windows = patch_windows(labels.shape, conversion.patch, conversion.overlap, conversion.pad)
        for window, label_target, image_target in zip(windows, targets[::2], targets[1::2]):
            write_image(cut_patch(labels, window, IGNORED), label_target)
            write_image(cut_patch(pixels, window, 0), image_target)

    record, options = out / row.seg_map_path / OPTIONS, _options(repair)
    _check_options(record, options)  # before the folders are claimed, which marks them as unfinished
    with ExitStack() as stack:
        for folder in folders:
            stack.enter_context(claim_folder(folder, CONVERTER))
        write_text(record, options)
        done = convert_all(convert, jobs, nproc, row.title)
        if row.ann_file and not (out / row.ann_file).exists():
            write_text(out / row.ann_file, ''.join(f'{source.name}\n' for source in sources.values()))
    return done, len(jobs)


def _options(repair: Repair) -> str:
    """The options by which label maps are made, as the file ``OPTIONS`` holds them."""
    return json.dumps([sorted(repair.values.items()), sorted(repair.colours.items()), repair.nearest])


def _check_options(path: Path, options: str) -> None:
    """Refuse to mix label maps that were made by other options with those of ``options``.

    Raises:
        ValueError: names the folder, or the file if it is not a text file.
    """
    if path.exists() and read_small_text('record of options', path, LARGEST_LIST) != options:
        raise ValueError(f'{quoted(path.parent)} has label maps that were made by another --map or --nearest: remove it, or '
                         'give another DST')


def _targets(row: Row, source: Source, out: Path) -> Sequence[Path]:
    """Label map and image, of each patch, in the order in which they are written."""
    conversion, names = _conversion(row), [source.name]
    if conversion.patch is not None:
        with Image.open(source.image) as image:
            windows = patch_windows(upright_size(image), conversion.patch, conversion.overlap, conversion.pad)
        names = [source.name + conversion.patch_name.format(index=index, **dict(zip(SIDES, window)))
                 for index, window in enumerate(windows)]
    return [out / folder / f'{name}{suffix}' for name in names
            for folder, suffix in ((row.seg_map_path, row.seg_map_suffix), (row.img_path, row.img_suffix))]
