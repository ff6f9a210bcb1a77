"""The files of a data set that are missing, and the check before a run."""
import os
from typing import Any, Iterable, List, Mapping, Optional

from mmengine import fileio
from mmseg.registry import DATASETS

from ovseg.utils import quoted, type_name


def missing_files(paths: Iterable[str], backend: Optional[dict]) -> List[str]:
    """Those of ``paths`` that do not exist in a storage, which is given by ``backend_args``."""
    return [path for path in paths if not fileio.exists(path, backend_args=backend)]


def missing_folders(cfg: Mapping[str, Any]) -> List[str]:
    """The folders and the list of images in a data set's config that do not exist; none without ``data_root``."""
    root, backend = cfg.get('data_root'), cfg.get('backend_args')
    if not root:
        return []  # the class brings its files along
    names = [name for name in (*cfg.get('data_prefix', {}).values(), cfg.get('ann_file')) if name] or ['']
    return missing_files((fileio.join_path(root, name, backend_args=backend) for name in names), backend)


def image_files(images: Iterable[Mapping[str, Any]]) -> List[str]:
    """The paths of all images and label maps in what a data set tells of its images."""
    return [image[key] for image in images for key in ('img_path', 'seg_map_path') if key in image]


def check_data_files(cfg: Mapping[str, Any]) -> None:
    """Refuse a data set of which something is missing, before hours are spent on the rest.

    mmseg stops with an assertion, an error of NumPy, or at the first image that it cannot find.

    Args:
        cfg: Config of a data set. One without ``data_root``, which comes with its files or draws them, is taken as it is.

    Raises:
        FileNotFoundError: a folder, the list of images, or any image or label map is missing; the message says where it was
            looked for, how to name another place, and how to get the data.
    """
    if not cfg.get('data_root'):
        return
    folders = missing_folders(cfg)
    if folders:
        root = missing_files([os.path.join(cfg['data_root'], '')], cfg.get('backend_args'))
        raise FileNotFoundError(_advice(cfg, f'{quoted([*root, *folders][0])} does not exist'))
    dataset = DATASETS.build({**cfg, 'lazy_init': True})
    if not dataset.load_data_list():  # full_init would fail in NumPy
        where = dataset.ann_file or f'{dataset.data_prefix["img_path"]} (*{dataset.img_suffix})'
        raise FileNotFoundError(_advice(cfg, f'there are no images in {quoted(where)}'))
    dataset.full_init()
    paths = image_files(map(dataset.get_data_info, range(len(dataset))))
    missing = missing_files(paths, dataset.backend_args)
    if missing:
        raise FileNotFoundError(_advice(cfg, f'{len(missing)} of {len(paths)} images and label maps do not exist, '
                                             f'the first is {quoted(missing[0])}'))


def _advice(cfg: Mapping[str, Any], problem: str) -> str:
    data_root = os.environ.get('DATA_ROOT', "not set, so 'data'")
    return (f'{type_name(cfg["type"])}: {problem} (working directory: {os.getcwd()}). Say where your data sets are by the '
            f'environment variable DATA_ROOT (now {data_root}), or where this one is by --cfg-options '
            'test_dataloader.dataset.data_root=FOLDER. docs/benchmarks.md tells how to get each data set, '
            'tools/check_dataset.py CONFIG what is missing.')
