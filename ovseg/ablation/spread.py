"""Differences between rows that only have other words: the vocabulary or the prompt templates."""
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np

from ovseg.ablation.results import Result
from ovseg.ablation.word_axes import BACKGROUND, NAMES, TEMPLATES

KEYS = {'vocabulary': (NAMES, BACKGROUND, 'model.name_path'), 'templates': (TEMPLATES, 'model.prompt_templates')}
SHOWN = 5  # classes in a note
COLUMNS = ('benchmark', 'axis', 'beside', 'class', 'low', 'lowest', 'high', 'highest', 'swing')


class Spread(NamedTuple):
    """Rows that differ in one axis of words only, at least two.

    Args:
        axis: Its name in ``KEYS``.
        beside: Name of what all of them change, as in the tables; empty for nothing.
        rows: The rows.
    """
    axis: str
    beside: str
    rows: List[Result]

    @property
    def low(self) -> np.ndarray:
        """Lowest IoU of each class, ``(K,)``; NaN for a class without IoU."""
        return _columns(np.fmin.reduce, self.rows)

    @property
    def high(self) -> np.ndarray:
        """Highest IoU of each class, ``(K,)``."""
        return _columns(np.fmax.reduce, self.rows)

    @property
    def order(self) -> List[int]:
        """The classes with an IoU, the one whose IoU differs most first; of equals the lower index first."""
        swing = self.high - self.low
        return [int(index) for index in np.argsort(-swing, kind='stable') if np.isfinite(swing[index])]


def spreads(rows: Sequence[Result]) -> List[Spread]:
    """The groups of rows of one benchmark that differ in one axis of words only."""
    groups: Dict[Tuple[str, ...], List[Result]] = {}
    for axis, keys in KEYS.items():
        for result in rows:
            others = {key: value for key, value in result.setting.options.items() if key not in keys}
            groups.setdefault((axis, result.setting.config, repr(sorted(others.items(), key=repr))), []).append(result)
    found = []
    for (axis, *_), group in groups.items():
        beside = {result.setting.points[axis][1] for result in group if axis in result.setting.points}
        if beside and len(group) > 1:
            found.append(Spread(axis, beside.pop(), group))
    return found


def spread_note(spread: Spread) -> str:
    """Lowest and highest mIoU, their difference, the standard deviation, and the classes that differ most."""
    scores = [float(np.nanmean(result.iou)) for result in spread.rows]
    low, high = int(np.argmin(scores)), int(np.argmax(scores))
    names = spread.rows[0].classes
    classes = ', '.join(f'{names[index]} {spread.high[index] - spread.low[index]:.1f}' for index in spread.order[:SHOWN])
    beside = f' with {spread.beside}' if spread.beside else ''
    return (f'{spread.axis}{beside}, {len(scores)} rows: mIoU from {scores[low]:.2f} ({spread.rows[low].setting.name}) to '
            f'{scores[high]:.2f} ({spread.rows[high].setting.name}), spread {scores[high] - scores[low]:.2f}, standard '
            f'deviation {np.std(scores):.2f}; classes whose IoU differs most: {classes}.')


def spread_lines(spread: Spread) -> List[List[Any]]:
    """A line per class with the columns ``COLUMNS``, the class that differs most first."""
    ious = np.stack([result.iou for result in spread.rows])
    names = [result.setting.name for result in spread.rows]
    first = spread.rows[0]
    return [[first.setting.benchmark, spread.axis, spread.beside, first.classes[index], f'{spread.low[index]:.2f}',
             names[int(np.nanargmin(ious[:, index]))], f'{spread.high[index]:.2f}', names[int(np.nanargmax(ious[:, index]))],
             f'{spread.high[index] - spread.low[index]:.2f}'] for index in spread.order]


def _columns(reduce: Any, rows: Sequence[Result]) -> np.ndarray:
    result: np.ndarray = reduce(np.stack([row.iou for row in rows]))
    return result
