"""Is all the data there?"""
import os
from typing import Any, Mapping

from mmengine import fileio
from mmseg.registry import DATASETS

from ovseg.utils import quoted, type_name


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
    backend = cfg.get('backend_args')
    for name in (cfg.get('ann_file'), *cfg.get('data_prefix', {}).values()):
        path = fileio.join_path(cfg['data_root'], name or '', backend_args=backend)
        if not fileio.exists(path, backend_args=backend):
            raise FileNotFoundError(_advice(cfg, f'{quoted(path)} does not exist'))
    dataset = DATASETS.build({**cfg, 'lazy_init': True})
    if not dataset.load_data_list():  # full_init would fail in NumPy
        where = dataset.ann_file or f'{dataset.data_prefix["img_path"]} (*{dataset.img_suffix})'
        raise FileNotFoundError(_advice(cfg, f'there are no images in {quoted(where)}'))
    dataset.full_init()
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    paths = [info[key] for info in infos for key in ('img_path', 'seg_map_path') if key in info]
    missing = [path for path in paths if not fileio.exists(path, backend_args=backend)]
    if missing:
        raise FileNotFoundError(_advice(cfg, f'{len(missing)} of {len(paths)} images and label maps do not exist, '
                                             f'the first is {quoted(missing[0])}'))


def _advice(cfg: Mapping[str, Any], problem: str) -> str:
    data_root = os.environ.get('DATA_ROOT', "not set, so 'data'")
    return (f'{type_name(cfg["type"])}: {problem} (working directory: {os.getcwd()}). Say where your data sets are by the '
            f'environment variable DATA_ROOT (now {data_root}), or where this one is by --cfg-options '
            'test_dataloader.dataset.data_root=FOLDER. docs/benchmarks.md tells how to get each data set, '
            'tools/check_dataset.py CONFIG what is missing.')
