"""Label maps of a folder of results."""
from pathlib import Path
from typing import Any, Iterator, List, Mapping, Tuple

import numpy as np
from PIL import Image

from ovseg.extras import needed
from ovseg.utils import quoted


def label_maps(folder: Path, results: Mapping[str, Any], max_pixels: int,
               left_out: List[str]) -> Iterator[Tuple[Mapping[str, Any], np.ndarray]]:
    """Each image of ``results.json`` with its label map ``(H, W)``; larger ones than ``max_pixels`` go to ``left_out``."""
    for entry in results['images']:
        width, height = entry['size']
        if width * height > max_pixels:
            left_out.append(f'{quoted(entry["source"])} is left out, its {width} x {height} pixels are more than '
                            f'max_pixels={max_pixels}')
        else:
            yield entry, read_labels(folder / entry['files']['pred'])


def read_labels(path: Path) -> np.ndarray:
    """The label map of an image, ``(H, W)``."""
    if path.suffix == '.png':
        with Image.open(path) as image:
            return np.array(image)
    with needed('rasterio', 'geo', f'{quoted(path)}, a GeoTIFF,').open(path) as dataset:
        return dataset.read(1)
