"""Label maps in a folder: their names, their ids, reading and writing."""
from collections import Counter
from pathlib import Path
from typing import Any, List, Mapping, Tuple, Union

import numpy as np
from mmseg.datasets import BaseSegDataset

from ovseg.files import write_image
from ovseg.image_files import decoded
from ovseg.inference.nonfinite import ignore_label
from ovseg.utils import quoted


def original_ids(metainfo: Mapping[str, Any]) -> np.ndarray:
    """The value that stands in the data set's own annotation files for each class, ``(K,)``, uint8 or uint16.

    Undoes mmseg's ``label_map`` (a choice of classes) and ``reduce_zero_label`` (0 means 'ignored', class 0 is written as 1).
    """
    ids = np.arange(len(metainfo['classes']))
    if metainfo['label_map'] is not None:
        old_id = {new: old for old, new in metainfo['label_map'].items()}
        ids = np.array([old_id[new] for new in ids])
    ids = ids + bool(metainfo['reduce_zero_label'])
    return ids.astype(np.min_scalar_type(ids.max()))


def ignore_id(ids: np.ndarray) -> int:
    """The value in a file for pixels without a class, beside ``ids (K,)``: 255 where they end below it, else 65535."""
    return ignore_label(int(ids.max()) + 1)


def file_values(labels: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Values of a file for ``labels (H, W)``, which are classes or ``ignore_label(K)``: their ``ids``, or ``ignore_id``.

    uint8 or uint16, ``(H, W)``.
    """
    undefined = labels == ignore_label(len(ids))
    if not undefined.any():
        return ids[labels]
    value = ignore_id(ids)
    values = ids[np.where(undefined, 0, labels)].astype(np.min_scalar_type(value))
    values[undefined] = value
    return values


def label_map_paths(dataset: BaseSegDataset, folder: Union[str, Path]) -> List[Path]:
    """Paths of the label map of each image: under ``folder`` as the image under the data set's ``img_path``, as PNG.

    Raises:
        ValueError: ``dataset`` is none of mmseg's, or two images would share a label map.
    """
    if not isinstance(dataset, BaseSegDataset):
        raise ValueError(f'label maps belong to a data set of images and masks (BaseSegDataset), not {type(dataset).__name__}')
    images = [Path(dataset.get_data_info(index)['img_path']) for index in range(len(dataset))]
    root = dataset.data_prefix['img_path']
    paths = [Path(folder) / image.relative_to(root).with_suffix('.png') for image in images]
    _refuse_shared(paths, images)
    return paths


def find_label_maps(dataset: BaseSegDataset, folder: Union[str, Path]) -> List[Path]:
    """The label map of each image: at its place (``label_map_paths``), or else under its mere name in ``folder`` itself.

    Raises:
        FileNotFoundError: label maps are missing; says how many, and which come first.
        ValueError: one label map would serve two images.
    """
    places = label_map_paths(dataset, folder)
    paths = [path if path.is_file() else Path(folder) / path.name for path in places]
    missing = [quoted(place) for place, path in zip(places, paths) if not path.is_file()]
    if missing:
        raise FileNotFoundError(f'{len(missing)} of {len(paths)} label maps are missing: {", ".join(missing[:5])}'
                                + (', …' if len(missing) > 5 else '') + '; ovseg test CONFIG --out FOLDER writes them')
    _refuse_shared(paths, places)
    return paths


def _refuse_shared(paths: List[Path], owners: List[Path]) -> None:
    path, count = Counter(paths).most_common(1)[0]
    if count > 1:
        first, second = [owner for owner, its_path in zip(owners, paths) if its_path == path][:2]
        raise ValueError(f'{quoted(first)} and {quoted(second)} would share the label map {quoted(path)}')


def write_label_map(path: Path, labels: np.ndarray) -> None:
    """Write ``labels (H, W)``, uint8 or uint16, as PNG, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(labels, path)


def read_label_map(path: Path, ids: np.ndarray, shape: Tuple[int, int]) -> np.ndarray:
    """The classes ``(H, W)``, int64 in [0, K), that a file names by their ``ids``; ``ignore_label(K)`` for ``ignore_id``.

    Args:
        path: A grey or palette image of any depth.
        ids: ``(K,)``, the value of each class in the file.
        shape: Height and width it must have.

    Raises:
        ValueError: the file cannot be read, is no label map, has another size, or a value that is neither a class nor
            ``ignore_id``; names the file.
    """
    image = decoded(path, 'label map')
    values = np.array(image)
    if values.ndim != 2 or values.dtype.kind not in 'bui':
        raise ValueError(f'{quoted(path)} is no label map: it has pixels of type {image.mode}, not one integer each')
    if values.shape != tuple(shape):
        raise ValueError(f'{quoted(path)} has {values.shape[0]} x {values.shape[1]} pixels, but its image has '
                         f'{shape[0]} x {shape[1]}')
    ignored = ignore_id(ids)
    class_of = np.full(ignored + 2, -1)  # the last entry is that of all values out of range, -1 and below as well
    class_of[ids] = np.arange(len(ids))
    class_of[ignored] = ignore_label(len(ids))
    labels = class_of[values.astype(np.int64).clip(-1, ignored + 1)]  # from bool, where there are two classes
    if labels.min() < 0:
        strange = np.unique(values[labels < 0]).tolist()
        raise ValueError(f'{quoted(path)} has values that are no class: {", ".join(map(str, strange[:5]))}; classes are '
                         f'{ids.min()} to {ids.max()}')
    return labels


def is_whole(path: Path) -> bool:
    """True where an image file is complete and its checksums are right."""
    try:
        decoded(path)
    except ValueError:
        return False
    return True
