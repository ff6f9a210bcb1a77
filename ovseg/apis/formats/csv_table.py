"""The areas of all images as a table."""
from pathlib import Path
from typing import Any, List, Mapping

from ovseg.files import write_text
from ovseg.tables import csv_table

HEADS = ('image', 'source', 'class', 'pixels', 'share')


def write_csv(folder: Path, results: Mapping[str, Any], max_pixels: int) -> List[str]:
    """Write ``areas.csv``: a line for each image and class, absent classes included."""
    rows = [(image['name'], image['source'], name, area['pixels'], area['share'])
            for image in results['images'] for name, area in image['areas'].items()]
    text = csv_table(HEADS, rows).encode('utf-8', 'backslashreplace').decode()  # of file names that are not UTF-8
    write_text(folder / 'areas.csv', text)
    return []
