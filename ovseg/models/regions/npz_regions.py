"""Region maps that were computed before and stored."""
import io
import lzma
import zipfile
import zlib
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Iterable

import numpy as np
import torch
from mmseg.structures import SegDataSample
from torch import Tensor

from ovseg.files import file_stamp, write_whole
from ovseg.models.mirrored_axes import mirrored_axes
from ovseg.models.regions.regions import MOST_REGIONS, Regions
from ovseg.registry import REGIONS
from ovseg.utils import expanded, one_line, quoted, shown

ARRAY, NOWHERE = 'instance_mask', 'no_region'


@REGIONS.register_module()
@dataclass(frozen=True)
class NpzRegions(Regions):
    """Region maps in files as CorrCLIP publishes them and ovseg regions writes them.

    The map of ``FOLDER/image.jpg`` is the integer array ``instance_mask (H, W)`` in ``ROOT/image.npz``, in the size of the
    image file. Its smallest number means no region, unless the file says by the integer ``no_region`` which one does.

    Args:
        root: The folder of the files.

    Raises:
        ValueError: ``root`` is no path.
    """
    root: str

    def __post_init__(self) -> None:
        if not isinstance(self.root, (str, Path)) or not str(self.root):
            raise ValueError(f'NpzRegions root={shown(self.root)} must be the path of a folder')
        self.__dict__.update(root=str(self.root))  # the dataclass is frozen for everyone else

    @property
    def folder(self) -> Path:
        """The folder of the files."""
        return expanded('NpzRegions root', self.root)

    def check(self) -> None:
        """See ``Regions``."""
        if not self.folder.is_dir():
            raise FileNotFoundError(f'NpzRegions root={quoted(self.root)} is no folder; ovseg regions CONFIG --out FOLDER '
                                    'writes the region maps of a data set')

    def check_images(self, images: Iterable[str]) -> None:
        """See ``Regions``."""
        there = {path.name for path in self.folder.iterdir()}
        for image in images:
            path = self.path_of(image)
            if path.name not in there:
                raise _missing(path)

    def digest(self) -> str:
        """Digest of names, sizes and times of the files."""
        files = sorted(self.folder.glob('*.npz'))
        return sha256(repr([(path.name, file_stamp(path)) for path in files]).encode()).hexdigest()

    def path_of(self, image: str) -> Path:
        """The file with the regions of an image file."""
        return self.folder / f'{Path(image).stem}.npz'

    def __call__(self, network: None, rgb: Tensor, sample: SegDataSample) -> Tensor:
        """See ``Regions``.

        Raises:
            FileNotFoundError: the image has no file.
            ValueError: the image has no path, or its file holds no map of regions in its size.
        """
        if not sample.get('img_path'):
            raise ValueError('NpzRegions finds region maps by img_path, and the image has none: give the path of an image file')
        path = self.path_of(sample.img_path)
        regions = read_regions(path)
        size = tuple(sample.get('ori_shape', regions.shape)[:2])
        if regions.shape != size:
            raise ValueError(f'{quoted(path)}: {ARRAY} has {regions.shape[0]} x {regions.shape[1]} pixels, and its image '
                             f'{quoted(sample.img_path)} has {size[0]} x {size[1]}')
        return torch.from_numpy(regions).flip(mirrored_axes(sample))


def read_regions(path: Path) -> np.ndarray:
    """The region map of a file, ``(H, W)`` int64: 0 for no region, then numbers from 1 on.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no map of integers, one number alone, or more than 65,535 regions; names file and key.
    """
    if not path.is_file():
        raise _missing(path)
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError('it is no .npz archive')
        with np.load(path, allow_pickle=False) as file:
            if ARRAY not in file.files:
                raise ValueError(f'it has no array {ARRAY!r}, but {", ".join(map(repr, file.files)) or "nothing"}')
            regions: Any = file[ARRAY]
            nowhere: Any = file[NOWHERE] if NOWHERE in file.files else None
    except (EOFError, LookupError, MemoryError, OSError, OverflowError, RuntimeError, TypeError, ValueError, lzma.LZMAError,
            zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f'{quoted(path)} cannot be read as region maps: {one_line(error)}') from error
    if regions.ndim != 2 or regions.size == 0 or not np.issubdtype(regions.dtype, np.integer):
        raise ValueError(f'{quoted(path)}: {ARRAY} must be a map of integers (H, W), not {regions.dtype} of shape '
                         f'{regions.shape}')
    if nowhere is not None and (nowhere.ndim or not np.issubdtype(nowhere.dtype, np.integer)):
        raise ValueError(f'{quoted(path)}: {NOWHERE} must be one integer, not {nowhere.dtype} of shape {nowhere.shape}')
    numbers, places = np.unique(regions, return_inverse=True)
    if nowhere is None and len(numbers) == 1:
        raise ValueError(f'{quoted(path)}: {ARRAY} is {numbers[0]} everywhere, which means no region at all')
    in_region = numbers != (numbers[0] if nowhere is None else nowhere)
    if in_region.sum() > MOST_REGIONS:
        raise ValueError(f'{quoted(path)}: {ARRAY} has {in_region.sum()} regions, and at most {MOST_REGIONS} are allowed')
    return np.where(in_region, in_region.cumsum(), 0)[places].reshape(regions.shape)


def _missing(path: Path) -> FileNotFoundError:
    return FileNotFoundError(f'{quoted(path)} does not exist: NpzRegions needs a region map of each image; '
                             'ovseg regions CONFIG --out FOLDER writes them')


def write_regions(path: Path, regions: np.ndarray) -> None:
    """Write a region map ``(H, W)``, 0 for no region, as a file for ``read_regions``."""
    content = io.BytesIO()
    np.savez_compressed(content, **{ARRAY: regions.astype(np.uint16), NOWHERE: np.uint16(0)})
    write_whole(path, lambda part: part.write_bytes(content.getbuffer()))
