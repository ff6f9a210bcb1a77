"""Label maps as image files, and images painted by them."""
from pathlib import Path
from typing import Dict, List, Mapping, Sequence

import numpy as np

from ovseg.files import write_image
from ovseg.visualization.legend import painted_with_legend
from ovseg.visualization.palette import distinct_colours

LONGEST_NAME = 40  # letters of a class's name in an image's legend
UNDEFINED = [255, 255, 255]  # the colour of pixels without a class


def class_colours(count: int, background: bool) -> List[List[int]]:
    """One RGB colour per class; black for class 0 where that is the background."""
    colours = distinct_colours(count)
    return [[0, 0, 0], *colours[:-1]] if background else colours


def class_shares(counts: np.ndarray, total: int, names: Sequence[str]) -> Dict[str, float]:
    """The share of ``total`` pixels of each class that occurs, largest first; ``counts`` are the pixels of each class."""
    return {names[index]: float(counts[index] / total) for index in (-counts).argsort(kind='stable') if counts[index]}


def write_label_map(labels: np.ndarray, palette: Sequence[Sequence[int]], path: Path) -> None:
    """Write labels ``(H, W)`` as a PNG: uint8 with the RGB colours of the classes, and white for others, or 16-bit grey."""
    write_image(labels, path, [*palette, *[UNDEFINED] * (256 - len(palette))] if labels.dtype == np.uint8 else None)


def paint(image: np.ndarray, labels: np.ndarray, palette: List[List[int]], areas: Mapping[str, float],
          names: List[str], without: Mapping[str, float]) -> np.ndarray:
    """The BGR image painted by its labels, with their legend, RGB. Pixels without a class are not painted.

    ``without`` is the share of the image that has no class, by the reason, for the legend.
    """
    shares = [(name, share, palette[names.index(name)]) for name, share in areas.items()]
    shares += [(reason, share, UNDEFINED) for reason, share in without.items() if share]
    legend = []
    for name, share, colour in shares:
        shown = name if len(name) <= LONGEST_NAME else f'{name[:LONGEST_NAME - 1]}…'
        percent = f'{share:.0%}' if share >= 0.01 else '< 1%'
        legend.append((f'{shown} {percent}', colour))
    return painted_with_legend(image[..., ::-1], labels, palette, legend)
