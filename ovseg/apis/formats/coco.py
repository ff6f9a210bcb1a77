"""Label maps as annotations of COCO."""
import json
from collections import Counter
from pathlib import Path
from typing import Any, Dict, List, Mapping

import numpy as np

from ovseg.apis.formats.label_files import label_maps
from ovseg.extras import needed
from ovseg.files import write_whole


def write_coco(folder: Path, results: Mapping[str, Any], max_pixels: int) -> List[str]:
    """Write ``coco.json`` with an annotation, in COCO's run-length encoding, for each class that occurs in an image.

    Images and categories are numbered from 1. ``file_name`` is that of the image without its folder, or with it for images of
    one name.
    """
    left_out: List[str] = []
    names = Counter(Path(entry['source']).name for entry in results['images'])
    categories = [dict(id=class_['id'] + 1, name=class_['name'], supercategory='') for class_ in results['classes']]

    def write(path: Path) -> None:
        images: List[Dict[str, Any]] = []
        with path.open('w', encoding='utf-8', errors='backslashreplace') as file:
            file.write(f'{{"categories": {json.dumps(categories, ensure_ascii=False)},\n"annotations": [')
            count = 0
            for entry, labels in label_maps(folder, results, max_pixels, left_out):
                name = Path(entry['source']).name
                images.append(dict(id=len(images) + 1, file_name=name if names[name] == 1 else entry['source'],
                                   width=labels.shape[1], height=labels.shape[0]))
                for annotation in annotations(labels, results['no_class']):
                    count += 1
                    annotation = dict(id=count, image_id=len(images), **annotation)
                    file.write(f'{"," if count > 1 else ""}\n{json.dumps(annotation)}')
            file.write(f'],\n"images": {json.dumps(images, ensure_ascii=False)}}}\n')

    write_whole(folder / 'coco.json', write)
    return left_out


def annotations(labels: np.ndarray, no_class: int) -> List[Dict[str, Any]]:
    """The annotation of each class in a label map ``(H, W)``, without its id and image.

    ``iscrowd`` is 1, which is how COCO marks run-length encoding.
    """
    mask = needed('pycocotools.mask', 'formats', '--format coco or parquet')
    found = []
    for label in np.unique(labels):
        if label != no_class:
            encoded = mask.encode(np.asfortranarray(labels == label, np.uint8))
            counts = encoded['counts'].decode('ascii')
            found.append(dict(category_id=int(label) + 1, area=int(mask.area(encoded)), bbox=mask.toBbox(encoded).tolist(),
                              iscrowd=1, segmentation=dict(size=[int(side) for side in encoded['size']], counts=counts)))
    return found
