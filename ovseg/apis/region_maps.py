"""Region maps of all images of a data set, computed once and stored."""
import json
from collections import defaultdict
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

import torch
from mmengine.logging import print_log
from mmengine.registry import DefaultScope
from mmseg.datasets import BaseSegDataset
from mmseg.registry import TRANSFORMS
from mmseg.structures import SegDataSample
from rich.console import Console
from rich.progress import track

from ovseg.claims import claim
from ovseg.files import file_stamp, write_text
from ovseg.models.regions import NpzRegions, Regions, region_map
from ovseg.models.regions.npz_regions import write_regions
from ovseg.utils import expanded, quoted

RECORD, STAMPS = 'regions.json', 'image_stamps'


def store_region_maps(dataset: BaseSegDataset, regions: Regions, folder: Path, device: torch.device) -> int:
    """Write the region maps of all images of a data set that have none yet, as ``NpzRegions`` reads them.

    Maps of images that have changed since are made again; the old ones stay until then.

    Args:
        dataset: Its images are read in their own size.
        regions: The source of the maps.
        folder: Where the files go, and ``regions.json``, which holds what they come from; made if it does not exist.
        device: Where a network of ``regions`` runs.

    Returns:
        The number of maps that were written.

    Raises:
        BlockingIOError: another process is writing there.
        FileNotFoundError: weights or an image are missing.
        ValueError: two images would have one file, the maps that are there come from another source, or ``regions.json`` is
            damaged.
    """
    folder = expanded('folder', folder)
    regions.check()
    images = _images_by_file(dataset, folder)
    stamps = {path.name: [] if dataset.backend_args else file_stamp(Path(image)) for path, image in images.items()}
    with claim(folder):
        record = folder / RECORD
        source, before = _read_record(record, regions)
        changed = {name: before[name] for name, stamp in stamps.items() if before.get(name, stamp) != stamp}
        if changed:
            print_log(f'{len(changed)} region maps of images that have changed are made again, the first of them '
                      f'{quoted(next(iter(changed)))}', 'current', 30)
        missing = {path: image for path, image in images.items() if path.name in changed or not path.exists()}
        write_text(record, json.dumps({**source, STAMPS: {**before, **stamps, **changed}}))
        try:
            for path in _compute(missing, regions, device):
                changed.pop(path.name, None)
        finally:  # images whose maps were not made keep their old stamps
            write_text(record, json.dumps({**source, STAMPS: {**before, **stamps, **changed}}))
        return len(missing)


def _images_by_file(dataset: BaseSegDataset, folder: Path) -> Dict[Path, str]:
    """The path of each image, by the file of its map."""
    files: Dict[Path, List[str]] = defaultdict(list)
    of_folder = NpzRegions(str(folder))
    for index in range(len(dataset)):
        image = dataset.get_data_info(index)['img_path']
        files[of_folder.path_of(image)].append(image)
    for path, images in files.items():
        if len(images) > 1:
            raise ValueError(f'{quoted(images[0])} and {quoted(images[1])} would both have the file {quoted(path.name)}: '
                             'region maps are found by the name of the image without its folder and its ending')
    return {path: images[0] for path, images in files.items()}


def _read_record(path: Path, regions: Regions) -> Tuple[Dict[str, Any], Dict[str, List[int]]]:
    """The source of the maps, and the noted ``file_stamp`` of each image by the name of its map.

    Maps without a stamp, which another program or an older version has written, are kept.

    Raises:
        ValueError: the maps come from another source, or the record is damaged; names it.
    """
    source = json.loads(json.dumps(dict(type=type(regions).__name__, files=regions.digest(), **vars(regions))))
    try:
        noted = json.loads(path.read_text(encoding='utf-8'))
    except FileNotFoundError:
        return source, {}
    except (ValueError, RecursionError):
        noted = None
    stamps = noted.pop(STAMPS, {}) if isinstance(noted, dict) else None
    if not isinstance(stamps, dict):
        raise ValueError(f'{quoted(path)} is damaged: remove it, and the region maps beside it are kept')
    if noted != source:
        raise ValueError(f'the region maps in {quoted(path.parent)} come from another source than {json.dumps(source)}, see '
                         f'{quoted(path)}: choose another folder, or remove that one')
    return source, stamps


def _compute(images: Dict[Path, str], regions: Regions, device: torch.device) -> Iterator[Path]:
    """Write the maps of images; yields the path of each once it is there."""
    if not images:
        return
    network = regions.load()
    if network is not None:
        network.to(device)
    with DefaultScope.overwrite_default_scope('mmseg'):
        read = TRANSFORMS.build(dict(type='LoadImage'))
    for path, image in track(images.items(), 'Computing regions', len(images), console=Console(stderr=True)):
        pixels = torch.from_numpy(read(dict(img_path=image))['img'][..., ::-1].copy()).permute(2, 0, 1)
        rgb = pixels.to(device, torch.float32) / 255
        sample = SegDataSample(metainfo=dict(img_path=image, ori_shape=tuple(rgb.shape[1:])))
        write_regions(path, region_map(regions, network, rgb, sample).cpu().numpy())
        yield path
