"""Data sets of one's own in the forms that people have, each of four images with three classes.

Not a test module: a test takes ``FORMS`` and ``make`` by ``runpy.run_path``.
"""
from pathlib import Path
from typing import Callable, Dict, NamedTuple, Optional, Sequence

import numpy as np
from PIL import Image

SIZES = dict(a=(61, 83), b=(71, 53), c=(47, 97), d=(53, 59))  # height, width
PALETTE = [[96, 169, 23], [27, 161, 226], [240, 220, 130]]
PIPELINE = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(64, 32)), dict(type='LoadAnnotations'),
            dict(type='PackSegInputs')]


class Form(NamedTuple):
    """A form: its name, options that repair it (None where nothing does), and how a correct data set becomes one.

    ``write`` gets the folder, a name, and the label map, whose values are 0, 1, 2 and 255, and returns the label map that is
    scored in the end; None, if it is as given.
    """

    name: str
    repair: Optional[str]
    write: Callable[[Path, str, np.ndarray], Optional[np.ndarray]]
    dataset: Dict[str, str] = {}


def save(pixels: np.ndarray, folder: Path, name: str, **options: object) -> None:
    Image.fromarray(pixels).save(folder / 'labels' / name, **options)


def _plain(folder: Path, name: str, labels: np.ndarray) -> None:
    save(labels, folder, f'{name}.png')


def _palette(folder: Path, name: str, labels: np.ndarray) -> None:
    image = Image.frombytes('P', labels.shape[::-1], labels.tobytes())
    image.putpalette(np.random.default_rng(0).integers(0, 256, 768).astype(np.uint8).tobytes())
    image.save(folder / 'labels' / f'{name}.png')


def _one_bit(folder: Path, name: str, labels: np.ndarray) -> np.ndarray:
    save(labels == 1, folder, f'{name}.png')
    return (labels == 1).astype(np.uint8)


def _wide(folder: Path, name: str, labels: np.ndarray) -> None:
    save(labels.astype(np.uint16), folder, f'{name}.png')


def _nested(folder: Path, name: str, labels: np.ndarray) -> None:
    for kind in ('images', 'labels'):
        (folder / kind / 'town').mkdir(exist_ok=True)
    (folder / 'images' / f'{name}.jpg').rename(folder / 'images' / 'town' / f'{name}.jpg')
    save(labels, folder, f'town/{name}.png')


def _binary(folder: Path, name: str, labels: np.ndarray) -> np.ndarray:
    save(np.where(labels == 1, 255, 0).astype(np.uint8), folder, f'{name}.png')
    return (labels == 1).astype(np.uint8)


def _void_behind(folder: Path, name: str, labels: np.ndarray) -> None:
    save(np.where(labels == 255, 3, labels).astype(np.uint8), folder, f'{name}.png')


def _wide_void(folder: Path, name: str, labels: np.ndarray) -> None:
    save(labels.astype(np.uint16) * np.where(labels == 255, 257, 1).astype(np.uint16), folder, f'{name}.png')


def _colours(labels: np.ndarray) -> np.ndarray:
    table = np.zeros((256, 3), np.uint8)
    table[:3] = PALETTE
    return table[labels]


def _rgb(folder: Path, name: str, labels: np.ndarray) -> None:
    save(_colours(labels), folder, f'{name}.png')


def _rgb_ids(folder: Path, name: str, labels: np.ndarray) -> None:
    Image.fromarray(labels).convert('RGB').save(folder / 'labels' / f'{name}.png')


def _alpha(folder: Path, name: str, labels: np.ndarray) -> None:
    opaque = np.where(labels == 255, 0, 255).astype(np.uint8)
    save(np.stack([labels, opaque], -1), folder, f'{name}.png')


def _jpeg(folder: Path, name: str, labels: np.ndarray) -> np.ndarray:
    save(np.where(labels == 1, 255, 0).astype(np.uint8), folder, f'{name}.jpg', quality=90)
    return np.array([[int(value >= 128) for value in row] for row in np.array(Image.open(folder / 'labels' / f'{name}.jpg'))])


def _jpeg_colours(folder: Path, name: str, labels: np.ndarray) -> np.ndarray:
    save(_colours(labels), folder, f'{name}.jpg', quality=90)
    colours = [*PALETTE, [0, 0, 0]]
    return np.array([[(0, 1, 2, 255)[np.argmin([sum((int(a) - b) ** 2 for a, b in zip(pixel, colour)) for colour in colours])]
                      for pixel in row] for row in np.array(Image.open(folder / 'labels' / f'{name}.jpg'))])


def _half(folder: Path, name: str, labels: np.ndarray) -> np.ndarray:
    small = labels[::2, ::2]
    save(small, folder, f'{name}.png')
    (height, width), (rows, columns) = small.shape, labels.shape
    return np.array([[small[int((y + 0.5) * height / rows), int((x + 0.5) * width / columns)] for x in range(columns)]
                     for y in range(rows)])


def _turned(folder: Path, name: str, labels: np.ndarray) -> np.ndarray:
    exif = Image.Exif()
    exif[0x0112] = dict(a=5, b=6, c=7, d=8)[name]
    path = folder / 'images' / f'{name}.jpg'
    image = Image.open(path)
    image.save(path, exif=exif)
    save(labels, folder, f'{name}.png')
    flip = {5: Image.TRANSPOSE, 6: Image.ROTATE_270, 7: Image.TRANSVERSE, 8: Image.ROTATE_90}[exif[0x0112]]
    return np.array(Image.fromarray(labels).transpose(flip))


def _no_mask(folder: Path, name: str, labels: np.ndarray) -> None:
    if name != 'b':
        _plain(folder, name, labels)


def _no_image(folder: Path, name: str, labels: np.ndarray) -> None:
    _plain(folder, name, labels)
    if name == 'b':
        (folder / 'images' / 'b.jpg').unlink()


def _other_case(folder: Path, name: str, labels: np.ndarray) -> None:
    (folder / 'images' / f'{name}.jpg').rename(folder / 'images' / f'{name}.JPG')
    save(labels, folder, f'{name}.PNG')


def _mask_case(folder: Path, name: str, labels: np.ndarray) -> None:
    save(labels, folder, f'{name}.PNG')


def _empty(folder: Path, name: str, labels: np.ndarray) -> None:
    (folder / 'images' / f'{name}.jpg').unlink()


def _cut_off(folder: Path, name: str, labels: np.ndarray) -> None:
    _plain(folder, name, labels)
    if name == 'b':
        path = folder / 'labels' / 'b.png'
        path.write_bytes(path.read_bytes()[:97])


def _other_shape(folder: Path, name: str, labels: np.ndarray) -> None:
    save(labels[:, :-7] if name == 'b' else labels, folder, f'{name}.png')


FORMS: Sequence[Form] = (
    Form('ids, and 255 for void', '', _plain),
    Form('palette PNG: its indices are the ids, its colours are not read', '', _palette),
    Form('1-bit PNG: ids 0 and 1', '', _one_bit),
    Form('16-bit PNG with values up to 255', '', _wide),
    Form('files in nested folders', '', _nested),
    Form('0 and 255 for two of the classes', '--map 255=1', _binary),
    Form('a value behind the classes for void (CamVid)', '--map 3=255', _void_behind),
    Form('16-bit PNG with 65535 for void', '--map 65535=255', _wide_void),
    Form('a colour for each class', '--rgb palette --map 0,0,0=255', _rgb),
    Form('ids stored as RGB', '--rgb grey', _rgb_ids),
    Form('ids with an alpha channel: transparent pixels are void', '--rgb grey', _alpha),
    Form('JPEG of 0 and 255', '--nearest --map 0=0 255=1', _jpeg, dict(seg_map_suffix='.jpg')),
    Form('JPEG with a colour for each class', '--rgb palette --nearest --map 0,0,0=255', _jpeg_colours,
         dict(seg_map_suffix='.jpg')),
    Form('masks of half the size', '--resize', _half),
    Form('images turned by EXIF data, masks not', '--resize', _turned),
    Form('a mask of another shape', None, _other_shape),
    Form('a mask that is cut off', None, _cut_off),
    Form('an image without mask', '', _no_mask),
    Form('a mask without image', '', _no_image),
    Form('.JPG and .PNG, while the config says .jpg and .png', '', _other_case),
    Form('.PNG, while the config says .png', '', _mask_case),
    Form('no images', None, _empty))


def make(form: Form, folder: Path) -> Dict[str, np.ndarray]:
    """Write a data set; returns the label maps of its complete pairs, by name without ending, as they should be scored."""
    rng = np.random.default_rng(0)
    for kind in ('images', 'labels'):
        (folder / kind).mkdir(parents=True)
    truths = {}
    for name, (height, width) in SIZES.items():
        Image.fromarray(rng.integers(0, 256, (height, width, 3)).astype(np.uint8)).save(folder / 'images' / f'{name}.jpg')
        blocks = np.array([0, 1, 2, 255], np.uint8)[rng.integers(0, 4, (height // 11 + 1, width // 11 + 1))]
        labels = blocks.repeat(11, 0).repeat(11, 1)[:height, :width]
        scored = form.write(folder, name, labels)
        truths[name] = labels if scored is None else scored
    names = {path.stem for path in (folder / 'images').rglob('*.*')} & {path.stem for path in (folder / 'labels').rglob('*.*')}
    return {name: truths[name] for name in sorted(names)}


def config(form: Form, data_root: Path) -> Dict[str, object]:
    """The config of a form's data set, as docs/own_dataset.md describes it."""
    metainfo = dict(classes=['grass', 'water', 'sand'], palette=PALETTE)
    dataset = dict(type='BaseSegDataset', data_root=str(data_root), metainfo=metainfo,
                   data_prefix=dict(img_path='images', seg_map_path='labels'), img_suffix='.jpg', seg_map_suffix='.png',
                   pipeline=PIPELINE)
    return dict(default_scope='mmseg', test_dataloader=dict(dataset={**dataset, **form.dataset}),
                test_evaluator=dict(type='IoUMetric', iou_metrics=['mIoU']))
