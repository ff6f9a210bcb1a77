"""Results as they are shown on the page, and as files."""
import html
import json
from pathlib import Path
from typing import Any, Collection, Dict, List, Mapping, NamedTuple, Optional, Tuple

import cv2
import numpy as np
from PIL import Image

from ovseg.files import write_image
from ovseg.visualization.contact_sheet import overlay
from ovseg.visualization.legend import painted_with_legend
from ovseg.web.uploads import Upload, small

OPACITY = 0.65  # of the colours on an image


class Segmented(NamedTuple):
    """Result for one image with one setting.

    Args:
        image: ``(h, w, 3)`` uint8 RGB, the image in a size for the page.
        labels: ``(H, W)``, indices into ``colours``.
        areas: The share of the image that each class covers, largest first.
        colours: RGB of each class, 0 to 255, in the order of their labels.
        seconds: Time of the segmentation, without that of building the model.
    """
    image: np.ndarray
    labels: np.ndarray
    areas: Dict[str, float]
    colours: Dict[str, List[int]]
    seconds: float

    def painted(self, opacity: float = OPACITY, shown: Optional[Collection[str]] = None) -> np.ndarray:
        """``image`` with the colours of the classes ``shown`` on it, or of all."""
        places = np.arange(len(self.colours) + 1, dtype=np.int32)
        if shown is not None:
            places[[index for index, name in enumerate(self.colours) if name not in shown]] = len(self.colours)
        return overlay(self.image, places[small(self.labels, cv2.INTER_NEAREST)], list(self.colours.values()), opacity)

    def for_the_page(self) -> 'Segmented':
        """The same with labels in the size of ``image``, which is all that ``painted`` needs."""
        return self._replace(labels=small(self.labels, cv2.INTER_NEAREST))


def legend(columns: Mapping[str, Segmented], note: str = '') -> str:
    """HTML table: a row for each class that occurs, with colour and area in each of ``columns``, and a row of times; above it
    a note.
    """
    colours = {name: colour for column in columns.values() for name, colour in column.colours.items()}
    present = dict.fromkeys(name for column in columns.values() for name in column.areas)
    rows = [f'<tr><td><span class="swatch" style="background:rgb{tuple(colours[name])}"></span>{html.escape(name)}</td>'
            + ''.join(f'<td>{_percent(column.areas.get(name, 0))}</td>' for column in columns.values()) + '</tr>'
            for name in present]
    head = ''.join(f'<th>{html.escape(title)}</th>' for title in ('class', *columns))
    times = ''.join(f'<td>{column.seconds:.2f} s</td>' for column in columns.values())
    above = f'<p class="note">{html.escape(note)}</p>' if note else ''
    return (f'{above}<table class="legend"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody>'
            f'<tfoot><tr><td>time taken</td>{times}</tr></tfoot></table>')


def write_labels(result: Segmented, path: Path) -> None:
    """Write the label map as a PNG: of 8 bits with the colours as its palette, or of 16 bits for over 255 classes."""
    labels = Image.fromarray(result.labels)
    if result.labels.dtype == np.uint8:
        labels.putpalette([channel for colour in result.colours.values() for channel in colour])
    labels.save(path)


def write_classes(result: Segmented, upload: Upload, path: Path) -> None:
    """Write what the values of the label map mean, as JSON."""
    counts = np.bincount(result.labels.ravel(), minlength=len(result.colours)).tolist()
    classes: List[Dict[str, Any]] = [
        dict(id=index, name=name, colour=colour, pixels=count, area=count / result.labels.size)
        for index, ((name, colour), count) in enumerate(zip(result.colours.items(), counts))]
    sizes = dict(label_map_size=result.labels.shape[::-1], image_size=upload.size[::-1])  # width, height
    path.write_text(json.dumps(dict(**sizes, classes=classes), ensure_ascii=False, indent=1) + '\n', encoding='utf-8')


def write_overlay(result: Segmented, painted: np.ndarray, shown: Collection[str], path: Path) -> None:
    """Write a painted image as a PNG, above a legend of the classes ``shown``."""
    entries: List[Tuple[str, List[int]]] = [(f'{name} {_percent(area)}', result.colours[name])
                                            for name, area in result.areas.items() if name in shown]
    without_a_class = np.ones(painted.shape[:2], np.uint8)  # the image is painted already
    write_image(painted_with_legend(painted, without_a_class, [[0, 0, 0]], entries) if entries else painted, path)


def _percent(share: float) -> str:
    return f'{share:.1%}' if share >= 0.001 or not share else '< 0.1%'
