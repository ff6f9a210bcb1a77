"""Elements that all figures share: panels of one image, maps painted over it, marks, legends."""
import textwrap
from itertools import zip_longest
from typing import Any, List, Mapping, Sequence, Tuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Patch, Rectangle

from ovseg.visualization.contact_sheet import overlay
from ovseg.visualization.legend import installed_fonts
from ovseg.visualization.palette import distinct_colours

SIDE = 2.3  # inches: the longer side of an image
NARROWEST = 1.4  # inches: what a panel takes at least, for its title
SMALLEST = (5, 2)  # inches: a figure, for its title and for the text at a colour bar
BAR = 0.8  # inches for a colour bar
LETTER = 0.1  # inches that a letter takes, at most on average
LONGEST = 45  # letters in a legend's entry, which fit into the smallest figure
OPACITY = 0.75  # of a map over its image
MOST_PIXELS = 1024  # of a panel's side
MOST = 20  # classes or clusters that get a colour of their own
OTHERS = (60, 60, 60)  # the colour of all the rest

# A decorator of functions that make a figure; the fonts are those of other alphabets too, where they are installed.
readable = matplotlib.rc_context({
    'font.family': installed_fonts(),
    'font.size': 9, 'axes.titlesize': 9, 'image.interpolation': 'nearest'})


def new_figure(image: np.ndarray, titles: Sequence[str], columns: int, title: str,
               margin: float = 0) -> Tuple[Figure, List[Axes]]:
    """A figure with a panel for ``image (H, W, 3)`` under each of ``titles``.

    Args:
        image: Gives the panels their shape.
        titles: Written in as many lines as a panel's width asks for.
        columns: Panels in a row.
        title: Stands above all.
        margin: Empty space to the right of all panels, in inches.
    """
    rows = -(-len(titles) // columns)
    height, width = (SIDE * size / max(image.shape[:2]) for size in image.shape[:2])
    size = (max(columns * max(width + 0.1, NARROWEST) + margin, SMALLEST[0]), max(rows * (height + 0.3) + 0.4, SMALLEST[1]))
    figure = Figure(figsize=size, dpi=150, layout='constrained')
    figure.suptitle(title, fontsize=10, wrap=True)
    axes = figure.subplots(rows, columns, squeeze=False).flatten().tolist()
    for axis, text in zip_longest(axes, titles):
        axis.set(xticks=[], yticks=[], anchor='N')
        if text is None:
            axis.set_axis_off()
        else:
            axis.set_title(textwrap.fill(text, int((size[0] - margin) / columns / LETTER), max_lines=3, placeholder='…'))
    return figure, axes[:len(titles)]


def thin(pixels: np.ndarray) -> np.ndarray:
    """Every n-th row and column of ``pixels (H, W, ...)``: as many as a panel can show in print."""
    step = -(-max(pixels.shape[:2]) // MOST_PIXELS)
    return pixels[::step, ::step]


def paint_map(axis: Axes, image: np.ndarray, values: np.ndarray, norm: Normalize, cmap: str) -> AxesImage:
    """``values (h, w)``, one per cell of a grid over the whole image, in colours over the image in grey."""
    height, width = image.shape[:2]
    axis.imshow(grey(image))
    return axis.imshow(values, cmap=cmap, norm=norm, alpha=OPACITY, extent=(-0.5, width - 0.5, height - 0.5, -0.5))


def grey(image: np.ndarray) -> np.ndarray:
    """``image (H, W, 3)`` in pale grey, on which colours stay what they are."""
    return np.repeat((100 + 0.6 * (image @ [0.299, 0.587, 0.114])).round().astype(np.uint8)[..., None], 3, axis=2)


def scale_of(*maps: np.ndarray) -> Tuple[Normalize, str]:
    """A scale that holds all values, and its colours: with 0 in the middle where there are values of both signs."""
    low, high = min(values.min() for values in maps), max(values.max() for values in maps)
    if low < 0 < high:
        return Normalize(-max(-low, high), max(-low, high)), 'RdBu_r'
    return Normalize(low, high), 'viridis'


def mark_patch(axis: Axes, image: np.ndarray, grid_size: Tuple[int, int], patch: Tuple[int, int], number: int = 0) -> None:
    """Outline the patch in this row and column of the grid, and write ``number`` beside it, if it is not 0."""
    height, width = (size / cells for size, cells in zip(image.shape, grid_size))
    corner = (patch[1] * width - 0.5, patch[0] * height - 0.5)
    for colour, thickness in (('black', 2.5), ('white', 1.0)):  # to be seen on any ground
        axis.add_patch(Rectangle(corner, width, height, fill=False, edgecolor=colour, linewidth=thickness))
    if number:
        right = patch[1] + 1 < grid_size[1]
        axis.annotate(str(number), (corner[0] + width * right, corner[1] + height / 2), (3 if right else -3, 0),
                      textcoords='offset points', ha='left' if right else 'right', va='center', color='white', fontsize=8,
                      bbox=dict(boxstyle='round,pad=0.15', facecolor='black', linewidth=0))


def colour_bar(figure: Figure, image: ScalarMappable, axes: Any, label: str, **kwargs: Any) -> Colorbar:
    """The scale of ``image`` beside ``axes``, in full colours."""
    return figure.colorbar(ScalarMappable(image.norm, image.cmap), ax=axes, label=label, **kwargs)


def legend(figure: Figure, handles: Sequence[Any]) -> None:
    """Add a legend under all panels, in as many lines as needed; the figure grows by them."""
    longest = max(len(handle.get_label()) for handle in handles)
    columns = max(1, min(len(handles), int(figure.get_figwidth() / (0.45 + LETTER * longest))))
    figure.set_figheight(figure.get_figheight() + 0.1 + 0.17 * -(-len(handles) // columns))
    figure.legend(handles=handles, loc='outside lower center', ncols=columns, fontsize=8, frameon=False)


def patch_of(colour: Sequence[int], label: str) -> Patch:
    """An entry of a legend; ``colour`` is RGB, 0 to 255. A long label is cut."""
    label = label if len(label) <= LONGEST else f'{label[:LONGEST - 1]}…'
    red, green, blue = (channel / 255 for channel in colour)
    return Patch(facecolor=(red, green, blue), edgecolor='black', linewidth=0.5, label=label)


class LabelColours:
    """Colours for the labels that occur in some maps: the largest ones get colours of their own, the rest shares one.

    Args:
        maps: Integer maps of any shape; negative values are no label.

    Attributes:
        largest: The labels that occur, those of most pixels first.
        palette: RGB of each label.
    """

    def __init__(self, *maps: np.ndarray) -> None:
        labels = np.concatenate([np.ravel(labels) for labels in maps])
        present, counts = np.unique(labels[labels >= 0], return_counts=True)
        self.largest = present[(-counts).argsort(kind='stable')].tolist()
        self.palette = np.full((max(self.largest, default=0) + 1, 3), OTHERS)
        self.palette[self.largest[:MOST]] = np.array(distinct_colours(MOST))[:len(self.largest)]

    def paint(self, image: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """``image (H, W, 3)`` in grey with the colours of ``labels (H, W)`` on it."""
        return overlay(grey(image), labels, self.palette.tolist(), OPACITY)

    def handles(self, texts: Mapping[int, str], others: str) -> List[Patch]:
        """Entries for a legend, largest first: ``texts`` by label, and ``others`` for those without a colour of their own."""
        shown = [patch_of(self.palette[label], texts[label]) for label in self.largest[:MOST]]
        rest = len(self.largest) - MOST
        return [*shown, patch_of(OTHERS, f'{rest} {others}')] if rest > 0 else shown
