"""Figures of the patches of one window. Arrays may be tensors on the CPU.

Every ``image (H, W, 3)`` is a window, uint8 RGB, and lies exactly under its grid of ``h`` x ``w`` patches. A patch is given by
its row and column in that grid; there are P ``patches``. A ``title`` stands above all panels.
"""
from typing import Any, Mapping, Sequence, Tuple

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ovseg.visualization import panels

COLUMNS = 4  # panels in a row, where their number is free

Patches = Sequence[Tuple[int, int]]


@panels.readable
def attention_figure(image: np.ndarray, attention: Mapping[str, Any], patches: Patches) -> Figure:
    """One row per patch: the image with the patch, then its attention in each variant, from 0 to the largest share there.

    ``attention`` has by variant ``(P, h, w)``: the share of its attention that each of P patches gives to all, in [0, 1].
    """
    maps = {name: np.asarray(values) for name, values in attention.items()}
    titles = [text for index in range(len(patches)) for text in
              (f'patch {index + 1}', *(f'{name}: max {100 * values[index].max():.3g}%' for name, values in maps.items()))]
    columns = 1 + len(maps)
    figure, axes = panels.new_figure(image, titles, columns, 'Where a patch attends to in the last block', panels.BAR)
    for index, patch in enumerate(patches):
        row = axes[columns * index:columns * (index + 1)]
        row[0].imshow(image)
        for axis, values in zip(row[1:], maps.values()):
            panels.paint_map(axis, image, values[index], Normalize(0, values[index].max()), 'viridis')
        for axis in row:
            panels.mark_patch(axis, image, values.shape[1:], patch)
    scale = ScalarMappable(Normalize(0, 1), 'viridis')
    panels.colour_bar(figure, scale, axes, 'share of the attention', ticks=[0, 1]).ax.set_yticklabels(['0', 'max'])
    return figure


@panels.readable
def similarity_figure(image: np.ndarray, similarity: Any, patches: Patches) -> Figure:
    """The image with the numbered patches, then the similarity map ``(P, h, w)`` of each, all on one scale."""
    maps = np.asarray(similarity)
    title = 'Similarity of a patch to all others, in the middle of the network'
    titles = ['patches', *(f'patch {number}' for number in range(1, 1 + len(maps)))]
    figure, axes = panels.new_figure(image, titles, min(len(titles), COLUMNS), title, panels.BAR)
    axes[0].imshow(image)
    for number, (axis, values, patch) in enumerate(zip(axes[1:], maps, patches), 1):
        panels.mark_patch(axes[0], image, values.shape, patch, number)
        painted = panels.paint_map(axis, image, values, *panels.scale_of(maps))
        panels.mark_patch(axis, image, values.shape, patch)
    panels.colour_bar(figure, painted, axes, 'similarity')
    return figure


@panels.readable
def outlier_figure(image: np.ndarray, scores: Any, replaced: Any, label: str = 'r = attn[CLS, i] / attn[i, i]',
                   title: str = 'Outliers') -> Figure:
    """The image, and on it the positive outlier ``scores (h, w)`` with a cross on what is ``replaced``, ``(h, w)`` bool.

    ``label`` is that of the scale.
    """
    scores, replaced = np.asarray(scores), np.asarray(replaced)
    figure, axes = panels.new_figure(image, ['window', 'outlier score'], 2, title, panels.BAR)
    axes[0].imshow(image)
    top = scores.max() or 1.0
    least = scores[scores > 0].min(initial=top)
    painted = panels.paint_map(axes[1], image, scores, LogNorm(least, top, clip=True), 'viridis')
    rows, columns = replaced.nonzero()
    height, width = (size / cells for size, cells in zip(image.shape, scores.shape))
    side = 72 * panels.SIDE / max(scores.shape)  # of a patch, in points
    for colour, thickness in (('black', 0.25), ('white', 0.1)):
        axes[1].plot((columns + 0.5) * width - 0.5, (rows + 0.5) * height - 0.5, linestyle='', marker='x', color=colour,
                     markersize=0.5 * side, markeredgewidth=thickness * side)
    ticks = np.geomspace(least, top, 5 if least < top else 1)
    panels.colour_bar(figure, painted, axes, label, ticks=ticks, format='%.2g').minorticks_off()
    panels.legend(figure, [Line2D([], [], linestyle='', marker='x', color='black', markeredgewidth=1.5,
                           label=f'replaced: {replaced.sum()} of {replaced.size} patches')])
    return figure


@panels.readable
def cluster_figure(image: np.ndarray, labels: Any, title: str = 'Clusters') -> Figure:
    """The image, and on it the clusters of its patches: ``labels (h, w)``, integers, -1 for noise."""
    labels = np.asarray(labels)
    colours = panels.LabelColours(labels)
    figure, axes = panels.new_figure(image, ['window', 'clusters'], 2, title)
    axes[0].imshow(image)
    cells = labels
    for axis, size in enumerate(labels.shape):
        cells = cells.repeat(image.shape[axis] // size, axis)
    axes[1].imshow(colours.paint(image, cells))
    sizes = {label: int((labels == label).sum()) for label in colours.largest}
    texts = {label: f'cluster {number}: {sizes[label]} patches' for number, label in enumerate(colours.largest, 1)}
    handles = colours.handles(texts, 'smaller clusters')
    if (labels < 0).any():
        handles.append(panels.patch_of((255, 255, 255), f'noise: {(labels < 0).sum()} patches'))
    panels.legend(figure, handles)
    return figure


@panels.readable
def cls_similarity_figure(image: np.ndarray, before: Any, after: Any, title: str = 'Similarity to the CLS token') -> Figure:
    """The image, and on it the patches' cosine similarity ``(h, w)`` to the CLS token before and after debiasing."""
    before, after = np.asarray(before), np.asarray(after)
    titles = ['window', f'before (mean {before.mean():.2f})', f'after (mean {after.mean():.2f})']
    figure, axes = panels.new_figure(image, titles, 3, title, panels.BAR)
    axes[0].imshow(image)
    for axis, values in zip(axes[1:], (before, after)):
        painted = panels.paint_map(axis, image, values, *panels.scale_of(before, after))
    panels.colour_bar(figure, painted, axes, 'cosine')
    return figure
