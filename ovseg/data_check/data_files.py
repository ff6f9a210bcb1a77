"""The files of a data set that are missing, and the check before a run."""
import os
from pathlib import Path
from typing import Any, Callable, Iterable, List, Mapping, Optional

from mmengine import fileio
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS
from PIL import Image

from ovseg.data_check.conversion import UNFINISHED
from ovseg.datasets.benchmarks import find_benchmark
from ovseg.image_files import FORMATS
from ovseg.sets import dataset_title
from ovseg.utils import quoted, shown

SHOWN = 3  # files that a message lists


def missing_files(paths: Iterable[str], backend: Optional[dict]) -> List[str]:
    """Those of ``paths`` that do not exist in a storage, which is given by ``backend_args``."""
    return [path for path in paths if not fileio.exists(path, backend_args=backend)]


def missing_folders(cfg: Mapping[str, Any]) -> List[str]:
    """The folders and the list of images in a data set's config that do not exist.

    Without ``data_root`` the class may bring its files along; then only absolute paths are looked at.
    """
    root, backend = cfg.get('data_root'), cfg.get('backend_args')
    names = [name for name in (*cfg.get('data_prefix', {}).values(), cfg.get('ann_file')) if name]
    if root:
        return missing_files((fileio.join_path(root, name, backend_args=backend) for name in names or ['']), backend)
    return missing_files(filter(os.path.isabs, names), backend)


def unfinished_conversion(cfg: Mapping[str, Any]) -> List[str]:
    """A folder in a data set's config whose conversion was stopped, and the command that continues it; empty without one."""
    for name in filter(None, cfg.get('data_prefix', {}).values()):
        folder = Path(cfg.get('data_root') or '', name)
        if (folder / UNFINISHED).is_file():
            return [str(folder), (folder / UNFINISHED).read_text(encoding='utf-8')]
    return []


def image_files(images: Iterable[Mapping[str, Any]]) -> List[str]:
    """The paths of all images and label maps in what a data set tells of its images."""
    return [image[key] for image in images for key in ('img_path', 'seg_map_path') if key in image]


def stray_label_maps(dataset: BaseSegDataset, pairs: Iterable[Mapping[str, Any]]) -> List[str]:
    """Label maps in the folder of a data set that none of ``pairs``, its ``load_data_list()``, has; in order.

    Endings that differ in case only count. None for a data set with ``ann_file``, which may leave files out, or a remote one.
    """
    wanted = {os.path.normpath(pair['seg_map_path']) for pair in pairs if 'seg_map_path' in pair}
    there = _files_below(dataset, 'seg_map_path', lambda name: name.endswith(dataset.seg_map_suffix.lower()))
    return [path for path in there if os.path.normpath(path) not in wanted]


def other_images(dataset: BaseSegDataset) -> List[str]:
    """Images in the folder of a data set whose ending is not ``img_suffix``, so that the data set leaves them out; in order.

    Where ``img_suffix`` is more than the ending of a format, such as ``_leftImg8bit.png``, those that differ in case only.
    """
    suffix, labels = dataset.img_suffix, dataset.seg_map_suffix.lower()
    Image.init()
    formats = tuple(ending for ending, format_ in Image.registered_extensions().items() if format_ in FORMATS)
    endings = formats if suffix.lower() in formats else (suffix.lower(),)
    shared = dataset.data_prefix.get('img_path') == dataset.data_prefix.get('seg_map_path')
    there = _files_below(dataset, 'img_path', lambda name: name.endswith(endings) and not (shared and name.endswith(labels)))
    return [path for path in there if not path.endswith(suffix)]


def _files_below(dataset: BaseSegDataset, prefix: str, chosen: Callable[[str], bool]) -> List[str]:
    """Paths below a folder of a data set whose name in lower case is ``chosen``."""
    folder = dataset.data_prefix.get(prefix)
    if dataset.ann_file or dataset.backend_args or not folder:
        return []
    return sorted(os.path.join(place, name) for place, _, names in os.walk(folder, followlinks=True)
                  for name in names if chosen(name.lower()))


def in_place_of(path: str, suffix: str) -> str:
    """Sentence part that lists the files beside the missing ``path`` whose names begin as its own without ``suffix``."""
    folder, name = os.path.split(path)
    stem = name[:-len(suffix)].lower() if suffix and name.endswith(suffix) else os.path.splitext(name)[0].lower()
    others = sorted(other for other in os.listdir(folder) if other.lower().startswith(stem)) if os.path.isdir(folder) else []
    listed = ', '.join(map(quoted, others[:SHOWN])) + (', ...' if len(others) > SHOWN else '')
    return f'; in place of {quoted(name)} there is {listed}' if others else ''


def check_data_folders(cfg: Mapping[str, Any]) -> None:
    """Refuse the config of a data set of which a folder or the list of images does not exist.

    Raises:
        FileNotFoundError: names the first.
    """
    folders = missing_folders(cfg)
    if folders:
        root = missing_files([os.path.join(cfg['data_root'], '')], cfg.get('backend_args')) if cfg.get('data_root') else []
        raise FileNotFoundError(_advice(cfg, f'{quoted([*root, *folders][0])} does not exist'))


def check_data_files(cfg: Mapping[str, Any]) -> None:
    """Refuse a data set of which something is missing, before hours are spent on the rest.

    mmseg stops with an assertion, an error of NumPy, or at the first image that it cannot find.

    Args:
        cfg: Config of a data set. One that draws its images is taken as it is.

    Raises:
        FileNotFoundError: a folder, the list of images, or any image or label map is missing, or a conversion was stopped; the
            message says where it was looked for, how to name another place, and how to get the data.
        ValueError: ``indices`` chooses no images, or images that are not there.
    """
    class_ = DATASETS.get(cfg['type']) if isinstance(cfg['type'], str) else cfg['type']
    if not (isinstance(class_, type) and issubclass(class_, BaseSegDataset)):
        return
    check_data_folders(cfg)
    stopped = unfinished_conversion(cfg)
    if stopped:
        raise FileNotFoundError(f'{dataset_title(cfg)}: the conversion into {quoted(stopped[0])} was stopped. Continue it: '
                                f'{stopped[1]}')
    dataset = DATASETS.build({**cfg, 'lazy_init': True})
    total = len(dataset.load_data_list())
    if not total:  # full_init would fail in NumPy
        where = dataset.ann_file or f'{dataset.data_prefix["img_path"]} (*{dataset.img_suffix})'
        raise FileNotFoundError(_advice(cfg, f'there are no images in {quoted(where)}'))
    _check_indices(cfg.get('indices'), total)
    dataset.full_init()
    paths = image_files(map(dataset.get_data_info, range(len(dataset))))
    missing = missing_files(paths, dataset.backend_args)
    if missing:
        raise FileNotFoundError(_advice(cfg, f'{len(missing)} of {len(paths)} images and label maps do not exist, '
                                             f'the first is {quoted(missing[0])}'
                                             + in_place_of(missing[0], dataset.seg_map_suffix)))


def _check_indices(indices: Any, total: int) -> None:
    """Refuse ``indices`` by which a data set of ``total`` images fails to build.

    Raises:
        ValueError: they are neither None, an integer other than 0, nor a list of some of the images.
    """
    if indices is None or (type(indices) is int and indices):
        return
    listed = isinstance(indices, (list, tuple)) and len(indices) > 0
    if not listed or not all(type(index) is int and -total <= index < total for index in indices):
        raise ValueError(f'test_dataloader.dataset.indices={shown(indices)} must be a number of images other than 0 (the '
                         f'first, or the last if negative), or a list of integers from {-total} to {total - 1}')


def _advice(cfg: Mapping[str, Any], problem: str) -> str:
    data_root = os.environ.get('DATA_ROOT', "not set, so 'data'")
    return (f'{dataset_title(cfg)}: {problem} (working directory: {os.getcwd()}). Say where your data sets are by the '
            f'environment variable DATA_ROOT (now {data_root}), or where this one is by --cfg-options '
            'test_dataloader.dataset.data_root=FOLDER. docs/datasets.md tells how to get each data set, '
            f'ovseg check-data CONFIG what is missing.{find_benchmark(cfg).made_by}')
