"""Images, ground truth and predictions side by side."""
from typing import Dict, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch


def overlay(image: np.ndarray, labels: np.ndarray, palette: Sequence[Sequence[int]], opacity: float = 0.65) -> np.ndarray:
    """``image (H, W, 3)`` uint8 RGB with the palette's colour of each label on it; others stay unpainted."""
    known = (labels >= 0) & (labels < len(palette))
    painted = np.asarray(palette, np.float32)[np.where(known, labels, 0)]
    weight = opacity * known[..., None]
    return (image * (1 - weight) + painted * weight).round().astype(np.uint8)


def contact_sheet(images: Sequence[np.ndarray], label_maps: Dict[str, Sequence[np.ndarray]], classes: Sequence[str],
                  palette: Sequence[Sequence[int]], pairs_per_row: int = 2) -> Figure:
    """One strip per image: the image itself, then each set of label maps painted on it.

    Args:
        images: ``(H, W, 3)`` uint8 RGB.
        label_maps: Column title to one ``(H, W)`` integer map per image.
        classes: Names for the legend; only those that occur in a map are listed.
        palette: One RGB colour per class, 0 to 255.
        pairs_per_row: Strips next to each other.

    Returns:
        A matplotlib figure, 1.7 inches per panel; ``figure.savefig(path)`` writes it.
    """
    columns = ['image', *label_maps]
    rows = -(-len(images) // pairs_per_row)
    figure = Figure(figsize=(1.7 * len(columns) * pairs_per_row, 1.5 * rows + 0.8), dpi=110, layout='constrained')
    axes = figure.subplots(rows, len(columns) * pairs_per_row, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for index, image in enumerate(images):
        row, strip = divmod(index, pairs_per_row)
        panels = [image, *(overlay(image, maps[index], palette) for maps in label_maps.values())]
        for column, (title, panel) in enumerate(zip(columns, panels)):
            axis = axes[row, strip * len(columns) + column]
            axis.imshow(panel, aspect='auto')
            if row == 0:
                axis.set_title(title, fontsize=10)
    _add_legend(figure, label_maps, classes, palette)
    return figure


def method_sheet(images: Sequence[np.ndarray], label_maps: Dict[str, Sequence[np.ndarray]], classes: Sequence[str],
                 palette: Sequence[Sequence[int]]) -> Figure:
    """One row of the images, then one row for each set of label maps painted on them.

    Args:
        images: ``(H, W, 3)`` uint8 RGB.
        label_maps: Row title to one ``(H, W)`` integer map per image.
        classes: Names for the legend; only those that occur in a map are listed.
        palette: One RGB colour per class, 0 to 255.

    Returns:
        A matplotlib figure, 1.7 inches per panel.
    """
    rows = {'image': list(images), **{title: [overlay(image, map_, palette) for image, map_ in zip(images, maps)]
                                      for title, maps in label_maps.items()}}
    figure = Figure(figsize=(1.7 * len(images) + 1.1, 1.2 * len(rows) + 0.6), dpi=110, layout='constrained')
    grid = figure.subplots(len(rows), len(images), squeeze=False)
    for axes, (title, panels) in zip(grid, rows.items()):
        axes[0].set_ylabel(title, fontsize=10, rotation=0, ha='right', va='center')
        for axis, panel in zip(axes, panels):
            axis.imshow(panel, aspect='auto')
            axis.set(xticks=[], yticks=[], frame_on=False)
    _add_legend(figure, label_maps, classes, palette)
    return figure


def _add_legend(figure: Figure, label_maps: Dict[str, Sequence[np.ndarray]], classes: Sequence[str],
                palette: Sequence[Sequence[int]]) -> None:
    present = sorted({label for maps in label_maps.values() for map_ in maps for label in np.unique(map_)})
    handles = [Patch(color=f'#{bytes(palette[label]).hex()}', label=classes[label]) for label in present
               if 0 <= label < len(classes)]
    figure.legend(handles=handles, loc='outside lower center', ncols=8, fontsize=8, frameon=False)
