"""Label maps as a mask for each class."""
import re
from pathlib import Path
from typing import Any, List, Mapping

import numpy as np

from ovseg.apis.formats.label_files import label_maps
from ovseg.files import write_image

LONGEST = 60  # characters of a class's name in a file's name


def write_masks(folder: Path, results: Mapping[str, Any], max_pixels: int) -> List[str]:
    """Write ``masks/NAME/ID_CLASS.png``, 255 where the class is and 0 elsewhere, for each class that occurs in an image."""
    left_out: List[str] = []
    names = [class_['name'] for class_ in results['classes']]
    for entry, labels in label_maps(folder, results, max_pixels, left_out):
        own = folder / 'masks' / entry['name']
        own.mkdir(parents=True, exist_ok=True)
        for old in own.glob('[0-9]*_*.png'):  # of an earlier run, with other classes
            old.unlink()
        for label in np.unique(labels[labels != results['no_class']]):
            number = f'{label:0{len(str(len(names)))}}'
            write_image((labels == label).astype(np.uint8) * 255, own / f'{number}_{_part(names[label])}.png')
    return left_out


def _part(name: str) -> str:
    """A class's name as a part of a file's name, on every system."""
    return re.sub(r'[^\w-]+', '-', name)[:LONGEST].strip('-') or 'class'
