"""Results as they are shown on the page, and as files."""
import html
import json
from pathlib import Path
from typing import Any, Collection, Dict, List, Mapping, NamedTuple, Optional, Tuple

import cv2
import numpy as np

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
        words: The ``word_record`` of the class names.
    """
    image: np.ndarray
    labels: np.ndarray
    areas: Dict[str, float]
    colours: Dict[str, List[int]]
    seconds: float
    words: Mapping[str, Any]

    def painted(self, opacity: float = OPACITY, shown: Optional[Collection[str]] = None) -> np.ndarray:
        """``image`` with the colours of the classes ``shown`` on it, or of all."""
        places = np.arange(len(self.colours) + 1, dtype=np.int32)
        if shown is not None:
            places[[index for index, name in enumerate(self.colours) if name not in shown]] = len(self.colours)
        return overlay(self.image, places[small(self.labels, cv2.INTER_NEAREST)], list(self.colours.values()), opacity)

    def for_the_page(self) -> 'Segmented':
        """The same with labels in the size of ``image``, which is all that ``painted`` needs."""
        return self._replace(labels=small(self.labels, cv2.INTER_NEAREST))


class Drawing(NamedTuple):
    """The last result of a browser tab, which can be redrawn.

    Args:
        result: The result ``for_the_page``.
        folder: Of its files; those of former drawings are deleted, so that a moving slider does not fill the disk.
        stem: How the names of files begin.
    """
    result: Segmented
    folder: Path
    stem: str

    def redrawn(self, opacity: float, shown: Collection[str]) -> Tuple[str, str]:
        """The paths of new files: the painted image, and the same above a legend."""
        self.folder.mkdir(exist_ok=True)  # the oldest folders are deleted
        numbers = [int(path.stem) for path in self.folder.glob('*.jpg')]
        number = max(numbers, default=1) + 1
        for old in numbers:
            if old < number - 1:  # the last one may still be on its way to the browser
                for path in self._paths(old):
                    path.unlink(missing_ok=True)
        picture, overlay_file = self._paths(number)
        painted = self.result.painted(opacity, shown)
        write_image(painted, picture, quality=95, subsampling=0)
        write_overlay(self.result, painted, shown, overlay_file)
        return str(picture), str(overlay_file)

    def _paths(self, number: int) -> Tuple[Path, Path]:
        return self.folder / f'{number}.jpg', self.folder / f'{self.stem}_overlay_{number}.png'


def legend(columns: Mapping[str, Segmented], note: str = '') -> str:
    """HTML table: a row for each class that occurs, with colour and area in each of ``columns``, and a row of times; above it
    a note, and the background words that were chosen automatically, which are the same in all columns.
    """
    colours = {name: colour for column in columns.values() for name, colour in column.colours.items()}
    present = dict.fromkeys(name for column in columns.values() for name in column.areas)
    rows = [f'<tr><td><span class="swatch" style="background:rgb{tuple(colours[name])}"></span>{html.escape(name)}</td>'
            + ''.join(f'<td>{_percent(column.areas.get(name, 0))}</td>' for column in columns.values()) + '</tr>'
            for name in present]
    head = ''.join(f'<th>{html.escape(title)}</th>' for title in ('class', *columns))
    times = ''.join(f'<td>{column.seconds:.2f} s</td>' for column in columns.values())
    chosen = next(iter(columns.values())).words['background_words']
    notes = [note, f'background: {", ".join(chosen)}' if chosen else '']
    above = ''.join(f'<p class="note">{html.escape(text)}</p>' for text in notes if text)
    return (f'{above}<table class="legend"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody>'
            f'<tfoot><tr><td>time taken</td>{times}</tr></tfoot></table>')


def write_classes(result: Segmented, upload: Upload, path: Path) -> None:
    """Write what the values of the label map mean, and the ``word_record``, as JSON."""
    counts = np.bincount(result.labels.ravel(), minlength=len(result.colours)).tolist()
    classes: List[Dict[str, Any]] = [
        dict(id=index, name=name, colour=colour, pixels=count, area=count / result.labels.size)
        for index, ((name, colour), count) in enumerate(zip(result.colours.items(), counts))]
    sizes = dict(label_map_size=result.labels.shape[::-1], image_size=upload.size[::-1])  # width, height
    content = dict(**sizes, **result.words, classes=classes)
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + '\n', encoding='utf-8')


def write_overlay(result: Segmented, painted: np.ndarray, shown: Collection[str], path: Path) -> None:
    """Write a painted image as a PNG, above a legend of the classes ``shown``."""
    entries: List[Tuple[str, List[int]]] = [(f'{name} {_percent(area)}', result.colours[name])
                                            for name, area in result.areas.items() if name in shown]
    if entries:
        without_a_class = np.ones(painted.shape[:2], np.uint8)  # the image is painted already
        painted = painted_with_legend(painted, without_a_class, [[0, 0, 0]], entries)
    write_image(painted, path, compress_level=1)


def _percent(share: float) -> str:
    return f'{share:.1%}' if share >= 0.001 or not share else '< 0.1%'
