"""Figures of the scores, labels and errors of a whole image, ``(H, W, 3)`` uint8 RGB. Arrays may be tensors on the CPU."""
from typing import Any, Sequence

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from ovseg.visualization import panels

COLUMNS = 4  # panels in a row
WRONG, UNSCORED = (0, 0, 0), (255, 255, 255)  # no class has a colour near these


@panels.readable
def score_figure(image: np.ndarray, scores: Any, names: Sequence[str]) -> Figure:
    """Figure of the image and the ``scores (K, H, W)`` of the classes to show, all on one scale: the brightest class of a pixel
    is its label.
    """
    scores, title = np.asarray(scores), 'Score of each class: cosine similarity to its text embeddings'
    figure, axes = panels.new_figure(image, ['image', *names], min(1 + len(names), COLUMNS), title, panels.BAR)
    axes[0].imshow(image)
    for axis, values in zip(axes[1:], scores):
        painted = panels.paint_map(axis, image, values, Normalize(scores.min(), scores.max()), 'viridis')
    panels.colour_bar(figure, painted, axes, 'score')
    return figure


@panels.readable
def error_figure(image: np.ndarray, labels: Any, ground_truth: Any, names: Sequence[str]) -> Figure:
    """Figure of the image, its ground truth, the labels, and the pixels that are wrong, with their share of the scored ones.

    ``labels`` and ``ground_truth``, ``(H, W)``, are indices into ``names``, of all classes; the latter is -1 where nothing is
    scored.
    """
    labels, ground_truth = np.asarray(labels), np.asarray(ground_truth)
    scored = ground_truth >= 0
    wrong = scored & (labels != ground_truth)
    share = wrong.sum() / max(scored.sum(), 1)
    colours = panels.LabelColours(labels, ground_truth)
    handles = [*colours.handles(dict(enumerate(names)), 'further classes'), panels.patch_of(WRONG, 'errors: wrong')]
    if not scored.all():
        handles.append(panels.patch_of(UNSCORED, 'errors: not scored'))
    image, labels, ground_truth, wrong, scored = map(panels.thin, (image, labels, ground_truth, wrong, scored))
    errors = panels.grey(image) // 3 + 128  # lighter than wrong, darker than unscored
    errors[wrong], errors[~scored] = WRONG, UNSCORED
    shown = {'image': image, 'ground truth': colours.paint(image, ground_truth), 'prediction': colours.paint(image, labels),
             'errors': errors}
    figure, axes = panels.new_figure(image, list(shown), 4, f'{share:.1%} of the scored pixels are wrong')
    for axis, pixels in zip(axes, shown.values()):
        axis.imshow(pixels)
    panels.legend(figure, handles)
    return figure
