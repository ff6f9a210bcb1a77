"""Label maps as polygons."""
import json
from functools import partial
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, TextIO, Tuple

import numpy as np

from ovseg.apis.formats.label_files import read_labels
from ovseg.apis.tiles import tiles
from ovseg.extras import needed
from ovseg.files import write_whole

WINDOW = 4096  # pixels on each side of a label map that are turned into polygons at a time
WGS84 = 'EPSG:4326'  # of all coordinates in GeoJSON
NEEDS = '--format geojson'
DECIMALS = 9  # of degrees: a tenth of a millimetre

Geometry = Dict[str, Any]


def write_geojson(folder: Path, results: Mapping[str, Any], max_pixels: int) -> List[str]:
    """Write ``geojson/NAME.geojson`` for each image: a polygon, with its holes, for each connected part of a class.

    Coordinates are pixels from the upper left corner, x to the right and y downwards; those of a raster with a coordinate
    system are longitude and latitude. Polygons of large rasters are cut at multiples of ``WINDOW`` pixels.
    """
    (folder / 'geojson').mkdir(exist_ok=True)
    for entry in results['images']:
        labels = folder / entry['files']['pred']
        write_whole(folder / 'geojson' / f'{entry["name"]}.geojson', partial(_write, labels, results))
    return []


def _write(labels: Path, results: Mapping[str, Any], path: Path) -> None:
    classes = results['classes']
    with path.open('w', encoding='utf-8') as file:
        file.write('{"type": "FeatureCollection", "features": [')
        for number, (geometry, label) in enumerate(polygons(labels, results['no_class'])):
            properties = {'class': classes[label]['name'], 'id': label, 'colour': classes[label]['colour']}
            _write_feature(file, number, dict(type='Feature', properties=properties, geometry=geometry))
        file.write('\n]}\n')


def _write_feature(file: TextIO, number: int, feature: Dict[str, Any]) -> None:
    file.write(f'{"," if number else ""}\n{json.dumps(feature, ensure_ascii=False)}')


def polygons(path: Path, no_class: int) -> Iterator[Tuple[Geometry, int]]:
    """The polygons of a label map's file and the class of each, along the edges of pixels, with their holes."""
    if path.suffix == '.png':
        yield from _shapes(read_labels(path), no_class)
        return
    rasterio, warp = needed('rasterio', 'formats', NEEDS), needed('rasterio.warp', 'formats', NEEDS)
    with rasterio.open(path) as dataset:
        for rows, columns in tiles(dataset.height, dataset.width, WINDOW, 0):
            window = ((rows.first, rows.last), (columns.first, columns.last))
            transform = rasterio.windows.transform(rasterio.windows.Window.from_slices(*window), dataset.transform)
            for geometry, label in _shapes(dataset.read(1, window=window), no_class, transform=transform):
                yield warp.transform_geom(dataset.crs, WGS84, geometry, precision=DECIMALS) if dataset.crs else geometry, label


def _shapes(labels: np.ndarray, no_class: int, **options: Any) -> Iterator[Tuple[Geometry, int]]:
    for geometry, label in needed('rasterio.features', 'formats', NEEDS).shapes(labels, labels != no_class, **options):
        yield geometry, int(label)
