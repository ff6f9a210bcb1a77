"""Formats for other programs, made of the label maps and ``results.json`` of a folder when all images are segmented."""
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Sequence, Tuple

from ovseg.apis.formats.coco import write_coco
from ovseg.apis.formats.csv_table import write_csv
from ovseg.apis.formats.geojson import write_geojson
from ovseg.apis.formats.masks import write_masks
from ovseg.apis.formats.parquet import write_parquet
from ovseg.extras import needed
from ovseg.utils import shown


class Format(NamedTuple):
    """A format.

    Args:
        write: Takes the folder, the content of ``results.json`` and the most pixels of a label map that is read whole, and
            returns a line for each image that it has left out.
        place: Of its files in the folder.
        modules: That it needs, and the extra that installs each.
    """
    write: Callable[[Any, Mapping[str, Any], int], List[str]]
    place: str
    modules: Sequence[Tuple[str, str]] = ()


FORMATS: Dict[str, Format] = dict(
    coco=Format(write_coco, 'coco.json', [('pycocotools', 'formats')]),
    csv=Format(write_csv, 'areas.csv'),
    geojson=Format(write_geojson, 'geojson/NAME.geojson', [('rasterio', 'formats')]),
    masks=Format(write_masks, 'masks/NAME/ID_CLASS.png'),
    parquet=Format(write_parquet, 'masks.parquet', [('pycocotools', 'formats'), ('pyarrow', 'formats')]))


def check_formats(names: Sequence[str]) -> List[str]:
    """The names without repetition, if they are in ``FORMATS`` and what they need is installed.

    Raises:
        ValueError: an unknown name, or a package is missing.
    """
    if isinstance(names, str):
        names = [names]
    for name in names:
        if name not in FORMATS:
            raise ValueError(f'formats={shown(name)} is unknown; known: {", ".join(FORMATS)}')
        for module, extra in FORMATS[name].modules:
            needed(module, extra, f'--format {name}')
    return list(dict.fromkeys(names))
