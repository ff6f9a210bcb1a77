"""Label maps and areas as a table in Parquet."""
from pathlib import Path
from typing import Any, Dict, List, Mapping

from ovseg.apis.formats.coco import annotations
from ovseg.apis.formats.label_files import label_maps
from ovseg.extras import needed
from ovseg.files import write_whole

ROWS = 10_000  # that are held in memory


def write_parquet(folder: Path, results: Mapping[str, Any], max_pixels: int) -> List[str]:
    """Write ``masks.parquet`` with a row for each class that occurs in an image.

    ``mask`` is the string ``counts`` of COCO's run-length encoding; with ``height`` and ``width``, ``pycocotools.mask.decode``
    makes a mask of it.
    """
    arrow, parquet = needed('pyarrow', 'formats', '--format parquet'), needed('pyarrow.parquet', 'formats', '--format parquet')
    left_out: List[str] = []
    schema = arrow.schema([('image', arrow.string()), ('source', arrow.string()), ('width', arrow.int32()),
                           ('height', arrow.int32()), ('class_id', arrow.int32()), ('class', arrow.string()),
                           ('pixels', arrow.int64()), ('share', arrow.float64()), ('mask', arrow.string())])
    names = [class_['name'] for class_ in results['classes']]

    def write(path: Path) -> None:
        rows: List[Dict[str, Any]] = []
        with parquet.ParquetWriter(path, schema) as writer:
            for entry, labels in label_maps(folder, results, max_pixels, left_out):
                for found in annotations(labels, results['no_class']):
                    class_id = found['category_id'] - 1
                    name, area = names[class_id], entry['areas'][names[class_id]]
                    rows.append({'image': _text(entry['name']), 'source': _text(entry['source']), 'width': labels.shape[1],
                                 'height': labels.shape[0], 'class_id': class_id, 'class': name, **area,
                                 'mask': found['segmentation']['counts']})
                if len(rows) >= ROWS:
                    writer.write_table(arrow.Table.from_pylist(rows, schema))
                    rows.clear()
            writer.write_table(arrow.Table.from_pylist(rows, schema))

    write_whole(folder / 'masks.parquet', write)
    return left_out


def _text(name: str) -> str:
    """A file name that is not UTF-8 with escapes."""
    return name.encode('utf-8', 'backslashreplace').decode()
