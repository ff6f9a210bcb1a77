"""Repaired copies of data sets: label maps that become what their config expects."""
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

import numpy as np
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS
from PIL import Image

from ovseg.data_check.check import label_loader, label_not_scored
from ovseg.data_check.conversion import claim_folder, convert_all
from ovseg.data_check.label_files import upright_size
from ovseg.datasets import LoadWideAnnotations
from ovseg.files import write_image, write_text
from ovseg.image_files import FORMATS, decoded
from ovseg.sets import ROWS, Colour
from ovseg.utils import check_integer, one_line, quoted

CONVERTER = 'repair.py'
RECORD = 'repair.json'
SHOWN = 5  # values or files that a message lists
GAP = 32  # least difference of grey values that are told apart by the nearest one


@dataclass(frozen=True)
class Repair:
    """Changes that make a label map what a config expects.

    Args:
        values: New value of each value of a file; others stay.
        colours: Value of each colour of a file.
        rgb: How colour images are read: 'grey', values stored three times, or 'palette', one of ``colours`` for each class.
        resize: Bring label maps to the size of their image: turned as its EXIF data says, or scaled to the nearest pixel.
        nearest: Take the nearest of ``values`` or ``colours``, as files need that were compressed or scaled with smoothing.
        allowed: The values that a result may have.
        ignored: Value of transparent pixels, which is not scored.
        wide: Write 16 bits.
    """

    values: Dict[int, int] = field(default_factory=dict)
    colours: Dict[Colour, int] = field(default_factory=dict)
    rgb: Optional[str] = None
    resize: bool = False
    nearest: bool = False
    allowed: Tuple[int, ...] = ()
    ignored: int = 255
    wide: bool = False

    def __post_init__(self) -> None:
        if not self.nearest:
            return
        keys = sorted(self.values)
        if self.rgb == 'palette':
            if not self.colours:
                raise ValueError('--nearest with --rgb palette needs colours: metainfo.palette or --map R,G,B=ID')
        elif len(keys) < 2 or min(b - a for a, b in zip(keys, keys[1:])) < GAP:
            raise ValueError(f'--nearest needs --map with all values of the masks, which differ by at least {GAP}, as in --map '
                             '0=0 255=1: compression changes values by more than closer ones differ. If they are closer, get '
                             'the masks as they were before')


def parse_map(texts: Sequence[str]) -> Tuple[Dict[int, int], Dict[Colour, int]]:
    """The values and the colours of ``OLD=NEW`` and ``R,G,B=NEW``.

    Raises:
        ValueError: a text is neither, or a value or colour stands twice.
    """
    values: Dict[int, int] = {}
    colours: Dict[Colour, int] = {}
    for text in texts:
        old, _, new = text.partition('=')
        numbers = old.split(',')
        if not new.isdecimal() or not all(number.isdecimal() for number in numbers) or len(numbers) not in (1, 3):
            raise ValueError(f'--map {quoted(text)} must be OLD=NEW or R,G,B=NEW, in integers from 0 on, e.g. 11=255')
        ids = tuple(map(int, numbers))
        if ids in colours or (len(ids) == 1 and ids[0] in values):
            raise ValueError(f'--map gives {old} twice')
        if len(ids) == 3:
            colours[ids] = int(new)
        else:
            values[ids[0]] = int(new)
    return values, colours


def repaired_labels(mask: Image.Image, image_size: Tuple[int, int], orientation: int, repair: Repair) -> np.ndarray:
    """The repaired label map ``(H, W)``, uint8 or uint16, of a decoded mask.

    Args:
        mask: In any mode.
        image_size: H and W of its image, as it is shown.
        orientation: EXIF orientation of its image, 1 to 8.
        repair: Changes.

    Raises:
        ValueError: the result would be no label map of the classes; says which option is missing.
    """
    labels, transparent = _ids(mask, repair)
    if repair.nearest and repair.rgb != 'palette':
        keys = np.array(sorted(repair.values))
        labels = keys[np.searchsorted((keys[:-1] + keys[1:]) / 2, labels)]  # of two that are equally near, the lower one
    result = labels.copy()
    for old, new in repair.values.items():
        result[labels == old] = new
    if transparent is not None:
        result[transparent] = repair.ignored
    outside = np.setdiff1d(result, repair.allowed)
    if outside.size:
        listed = ', '.join(f'{value:g}' for value in outside[:SHOWN]) + (', ...' if outside.size > SHOWN else '')
        raise ValueError(f'values that are no class: {listed}; say by --map OLD=NEW what they mean, e.g. '
                         f'--map {outside[0]:g}={repair.ignored}, which is not scored')
    return _sized(result, image_size, orientation, repair.resize).astype(np.uint16 if repair.wide else np.uint8)


def _ids(mask: Image.Image, repair: Repair) -> Tuple[np.ndarray, Optional[np.ndarray]]:
    """Values ``(H, W)`` of a mask, signed or of floats, and where it is transparent."""
    if mask.format == 'JPEG' and not repair.nearest:
        raise ValueError('it is a JPEG, whose compression changes labels: --nearest takes the nearest value of --map or colour '
                         'of --rgb palette')
    if mask.mode in ('CMYK', 'YCbCr', 'LAB', 'HSV'):
        mask = mask.convert('RGB')
    pixels = np.array(mask)
    if pixels.dtype.kind != 'f':
        pixels = pixels.astype(np.int64)
    if pixels.ndim == 2:
        return pixels, None
    transparent = None
    if mask.mode in ('LA', 'PA', 'RGBA'):
        alpha = pixels[..., -1]
        if not np.isin(alpha, (0, 255)).all():
            raise ValueError('its alpha channel has values between 0 and 255')
        transparent, pixels = alpha == 0, pixels[..., :-1]
    if pixels.shape[-1] == 1:
        return pixels[..., 0], transparent
    if repair.rgb == 'palette':
        return _palette_ids(pixels, repair, transparent), transparent
    if repair.rgb is None:
        raise ValueError('it is a colour image: --rgb grey, if ids are stored three times, or --rgb palette, if each class has '
                         'a colour')
    if not repair.nearest and (pixels != pixels[..., :1]).any():
        raise ValueError('it has colours that are no grey: --rgb palette')
    return pixels[..., 0], transparent


def _palette_ids(pixels: np.ndarray, repair: Repair, transparent: Optional[np.ndarray]) -> np.ndarray:
    """The value of each pixel's colour, ``(H, W)``."""
    colours, ids = np.array(list(repair.colours)), np.array(list(repair.colours.values()))
    codes = pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2]
    table = np.zeros(2 ** 24, np.uint16)  # of all colours: sorting the pixels of a large mask takes half a minute
    table[codes if transparent is None else codes[~transparent]] = 1
    present = np.flatnonzero(table)
    found = np.stack([present >> 16, present >> 8 & 255, present & 255], -1)
    distance = np.stack([((found - colour) ** 2).sum(-1) for colour in colours], -1)  # (distinct colours, palette)
    strange = found[distance.min(1) > 0]
    if len(strange) and not repair.nearest:
        listed = ' '.join(','.join(map(str, colour)) for colour in strange[:SHOWN]) + (' ...' if len(strange) > SHOWN else '')
        raise ValueError(f'colours that are in no palette: {listed}; add them by --map R,G,B=ID, or take the nearest colour by '
                         '--nearest')
    table[present] = distance.argmin(1)
    return ids[table[codes]]


def _sized(labels: np.ndarray, size: Tuple[int, int], orientation: int, resize: bool) -> np.ndarray:
    """Labels ``(H, W)`` of ``size``: as they are, turned as the image's EXIF data says, or the nearest pixels."""
    if labels.shape == size:
        return labels
    (height, width), (rows, columns) = labels.shape, size
    given = f'it has {height} x {width} pixels, its image {rows} x {columns}'
    if not resize:
        raise ValueError(f'{given}: --resize')
    if orientation >= 5 and labels.shape == size[::-1]:
        return {5: labels.T, 6: np.rot90(labels, -1), 7: labels[::-1, ::-1].T, 8: np.rot90(labels)}[orientation]
    if abs(height * columns - width * rows) > max(height, width, rows, columns):  # more than a pixel is rounded
        raise ValueError(f'{given}, which is another shape: it may be the mask of another image, or turned')
    row, column = (((np.arange(new) + 0.5) * old / new).astype(int) for new, old in ((rows, height), (columns, width)))
    return labels[row[:, None], column]


class Pairs(NamedTuple):
    """Files of a data set by their name without ending, relative to its folders, and those that lack the other one."""

    complete: Dict[str, Tuple[Path, Path]]  # image, mask
    images: List[Path]  # without mask
    masks: List[Path]  # without image


def find_pairs(dataset: BaseSegDataset) -> Pairs:
    """Images and masks of one name, with the endings of the config in any case, or that of another image format.

    Raises:
        ValueError: the data set has no folder of images or of masks.
    """
    suffixes = dict(img_path=dataset.img_suffix, seg_map_path=dataset.seg_map_suffix)
    for key in suffixes:
        if not dataset.data_prefix.get(key):
            raise ValueError(f'the data set needs data_prefix.{key}')
    images, masks = (_by_stem(Path(dataset.data_prefix[key]), suffix) for key, suffix in suffixes.items())
    if dataset.ann_file:
        listed = {os.path.relpath(pair['img_path'], dataset.data_prefix['img_path'])[:-len(dataset.img_suffix)]
                  for pair in dataset.load_data_list()}
        images, masks = ({stem: path for stem, path in files.items() if stem in listed} for files in (images, masks))
    complete = {stem: (images[stem], masks[stem]) for stem in sorted(set(images) & set(masks)) if images[stem] != masks[stem]}
    alone = ([path for stem, path in sorted(files.items()) if stem not in complete] for files in (images, masks))
    return Pairs(complete, *alone)


def _by_stem(folder: Path, suffix: str) -> Dict[str, Path]:
    """The files below ``folder`` by relative name without ending; that of the config wins, then its other cases."""
    Image.init()
    formats = tuple(ending for ending, format_ in Image.registered_extensions().items() if format_ in FORMATS)
    found: Dict[str, Tuple[int, Path]] = {}
    for place, _, names in os.walk(folder, followlinks=True):
        for name in sorted(names):
            ending = name[-len(suffix):] if name.lower().endswith(suffix.lower()) else os.path.splitext(name)[1]
            rank = 0 if ending == suffix else 1 if ending.lower() == suffix.lower() else 2
            if rank == 2 and (suffix.lower() not in formats or ending.lower() not in formats):
                continue
            stem = os.path.relpath(os.path.join(place, name[:-len(ending)]), folder)
            found[stem] = min(found.get(stem, (3, folder)), (rank, Path(place, name)))
    return {stem: path for stem, (_, path) in found.items()}


def repair_of(cfg: Config, dataset: BaseSegDataset, maps: Sequence[str], rgb: Optional[str], resize: bool,
              nearest: bool) -> Repair:
    """The changes that options ask for, for the data set of a config.

    Raises:
        ValueError: an option is wrong, or there is no palette.
    """
    values, colours = parse_map(maps)
    ignored, offset, classes = label_not_scored(cfg), int(dataset.reduce_zero_label), dataset.metainfo['classes']
    ids = list(dataset.label_map) if dataset.label_map else list(range(len(classes) + offset))
    if rgb == 'palette':
        palette = cfg.test_dataloader.dataset.get('metainfo', {}).get('palette') or _own_palette(dataset)
        if dataset.label_map or len(palette) not in (0, len(classes)) or not (palette or colours):
            raise ValueError(f'--rgb palette needs metainfo.palette of the data set with {len(classes)} colours, one for each '
                             f'class, or --map R,G,B=ID for each colour; it has {len(palette)}')
        listed = [tuple(colour) for colour in palette]
        twice = next((colour for colour in listed if listed.count(colour) > 1), None)
        if twice:
            raise ValueError(f'metainfo.palette has the colour {twice} twice, so that it names no class')
        colours = {**{colour: index + offset for index, colour in enumerate(listed)}, **colours}
    elif colours:
        raise ValueError('--map R,G,B=ID needs --rgb palette')
    return Repair(values, colours, rgb, resize, nearest, (*ids, ignored), ignored,
                  isinstance(label_loader(dataset), LoadWideAnnotations))


def _own_palette(dataset: BaseSegDataset) -> List[Any]:
    """The colours of a data set's classes; none where they are only those that label maps are painted by."""
    row = ROWS.get(getattr(dataset, 'name', ''))
    return list(dataset.METAINFO.get('palette', []) if row is None else row.palette)


def built_dataset(cfg: Config) -> BaseSegDataset:
    """The data set of a config, of which nothing has been read."""
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmseg')):
        return DATASETS.build({**cfg.test_dataloader.dataset, 'lazy_init': True})


def write_copy(dataset: BaseSegDataset, repair: Repair, out: Path, nproc: int) -> Tuple[Pairs, int]:
    """Write repaired label maps of all complete pairs to ``out/labels``, and links to their images to ``out/images``.

    A copy that was made by other options is made again; one that was stopped goes on where it stopped. The source is only read.
    A copy of another data set is refused: what both have would be mixed.

    Returns:
        The pairs, and how many label maps were written.

    Raises:
        ValueError: there are no pairs, ``out`` has files of others or is in a folder of the data set, or a label map cannot be
            repaired; names it. Or ``nproc`` is not positive; then nothing is written.
    """
    check_integer('--nproc', nproc, 1)
    _check_outside(dataset, out)
    pairs = find_pairs(dataset)
    if not pairs.complete:
        raise ValueError(f'no image in {quoted(dataset.data_prefix["img_path"])} has a label map of its name in '
                         f'{quoted(dataset.data_prefix["seg_map_path"])}')
    suffix = label_suffix(dataset)
    jobs = {mask: (image, out / 'images' / f'{stem}{dataset.img_suffix}', out / 'labels' / f'{stem}{suffix}')
            for stem, (image, mask) in pairs.complete.items()}

    def convert(source: Path, target: Path) -> None:
        with Image.open(jobs[source][0]) as image:
            size, orientation = upright_size(image), image.getexif().get(0x0112, 1)
        mask = decoded(source, 'label map')
        target.parent.mkdir(parents=True, exist_ok=True)
        write_image(repaired_labels(mask, size, orientation, repair), target)

    with claim_folder(out, CONVERTER):
        same, record = _compared(out / RECORD, dataset, repair)
        _refuse_others(out, {path for _, *paths in jobs.values() for path in paths})
        for source, (image, link, target) in jobs.items():
            link_image(image, link)
            changed = max(path.stat().st_mtime_ns for path in (source, image))  # the size is that of the image
            if target.exists() and not (same and target.stat().st_mtime_ns >= changed):
                target.unlink()
        write_text(out / RECORD, record)
        return pairs, convert_all(convert, [(mask, job[2]) for mask, job in jobs.items()], nproc, 'repair')


def _refuse_others(out: Path, own: Set[Path]) -> None:
    """Refuse a copy with other files than its ``own``: they would be scored."""
    others = sorted(path for name in ('images', 'labels') for path in (out / name).rglob('*')
                    if path not in own and not path.is_dir())
    if others:
        raise ValueError(f'{quoted(out)} has {len(others)} files of pairs that the data set does not have, the first is '
                         f'{quoted(others[0])}: name another folder')


def _check_outside(dataset: BaseSegDataset, out: Path) -> None:
    """Refuse a copy in a folder of the data set, which would then have the copied files, too."""
    for key in ('img_path', 'seg_map_path'):
        folder = Path(dataset.data_prefix.get(key) or os.devnull).resolve()
        if folder == out.resolve() or folder in out.resolve().parents:
            raise ValueError(f'--out {quoted(out)} is in data_prefix.{key} of the data set, {quoted(folder)}: name a folder '
                             'outside of it')


def _compared(path: Path, dataset: BaseSegDataset, repair: Repair) -> Tuple[bool, str]:
    """True if the record at ``path`` is that of the same options, and the text of the new record.

    Raises:
        ValueError: the copy is that of another data set, or the record is damaged.
    """
    source = dict({key: os.path.realpath(dataset.data_prefix[key]) for key in ('img_path', 'seg_map_path')},
                  ann_file=os.path.realpath(dataset.ann_file) if dataset.ann_file else '')
    record = dict(asdict(repair), colours=[[*key, value] for key, value in repair.colours.items()], source=source)
    text = json.dumps(record, indent=1)
    if not path.is_file():
        return False, text
    try:
        before = json.loads(path.read_text(encoding='utf-8'))
        made_from = dict(before['source'])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f'{quoted(path)} is damaged ({one_line(error)}): name another folder') from error
    if made_from != source:
        key = next(key for key in source if made_from.get(key) != source[key])
        raise ValueError(f'{quoted(path.parent)} is a copy of another data set ({key} was '
                         f'{quoted(str(made_from.get(key)))}, now {quoted(source[key])}): name another folder')
    return before == json.loads(text), text


def link_image(image: Path, link: Path) -> None:
    """Let ``link`` be a link to ``image``, unless it is the image itself."""
    if link.resolve() == image.resolve():
        return
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.is_symlink():
        link.unlink()
    link.symlink_to(image.resolve())


def label_suffix(dataset: BaseSegDataset) -> str:
    """Ending of the repaired label maps, which are PNG."""
    return str(Path(f'x{dataset.seg_map_suffix}').with_suffix('.png'))[1:]


def config_values(dataset: BaseSegDataset, out: Path) -> Dict[str, Any]:
    """Settings of ``test_dataloader.dataset`` that use a copy, as far as they differ from the data set's."""
    values = dict(data_root=str(out.resolve()), data_prefix=dict(img_path='images', seg_map_path='labels'))
    if dataset.seg_map_suffix != label_suffix(dataset):
        values['seg_map_suffix'] = label_suffix(dataset)
    return dict(values, ann_file='') if dataset.ann_file else values
