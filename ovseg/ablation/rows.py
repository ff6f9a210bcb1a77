"""What is kept of each setting: areas per image and class, written image by image.

``DIGEST.part.jsonl`` grows while a setting runs; complete and in the order of the data set it becomes ``DIGEST.jsonl``. A run
that is killed at any moment leaves whole lines, perhaps but the last, and the next run goes on behind them.
"""
import json
from pathlib import Path
from typing import Any, Dict, Iterable, List, NamedTuple, Sequence

import numpy as np
import torch
from torch import Tensor

from ovseg.files import write_errors_named, write_text


class Areas(NamedTuple):
    """Pixels per image and class, ``(n, K)`` int32 each, and the names of the images.

    ``intersect`` have the class in truth and prediction, ``predicted`` in the prediction, ``truth`` in the truth.
    """
    images: List[str]
    intersect: np.ndarray
    predicted: np.ndarray
    truth: np.ndarray

    @property
    def union(self) -> np.ndarray:
        """Pixels that have the class in truth or prediction, ``(n, K)``."""
        return self.predicted + self.truth - self.intersect


def class_areas(prediction: Tensor, truth: Tensor, classes: int, ignore_index: int) -> np.ndarray:
    """Pixels of each class as in ``Areas``: intersect, predicted, truth, ``(3, K)``.

    They are those of ``IoUMetric.intersect_and_union``, which counts each of the three by a histogram of its own and takes
    several times as long.

    Args:
        prediction: ``(H, W)`` int64 in [0, K).
        truth: ``(H, W)``; values from K on are no class: they count for no truth, but against what is predicted there.
        classes: K.
        ignore_index: Pixels of this truth do not count at all.
    """
    pairs = (truth.to(prediction).clamp(max=classes) * classes + prediction)[truth != ignore_index]
    confusion = pairs.bincount(minlength=(classes + 1) * classes).view(classes + 1, classes)
    return torch.stack([confusion.diagonal(), confusion.sum(dim=0), confusion[:classes].sum(dim=1)]).cpu().numpy()


def row_file(folder: Path, digest: str) -> Path:
    """Where the finished row is."""
    return folder / 'rows' / f'{digest}.jsonl'


class RowWriter:
    """Writes one row.

    Args:
        folder: The ablation's.
        digest: The setting's.
    """

    def __init__(self, folder: Path, digest: str) -> None:
        self.path = row_file(folder, digest)
        self.part = self.path.with_suffix('.part.jsonl')
        self.lines = _read_part(self.part)

    def keep(self, images: Sequence[str]) -> None:
        """Start with the lines of ``images``, which are there, and no others."""
        self.lines = {image: self.lines[image] for image in images}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        _replace(self.part, self.lines.values())

    def add(self, image: str, areas: np.ndarray) -> None:
        """Append an image's ``class_areas`` under its name."""
        present = np.flatnonzero(areas.any(axis=0))
        counts = dict(zip(('intersect', 'predicted', 'truth'), areas[:, present].tolist()))
        self.lines[image] = json.dumps(dict(image=image, classes=present.tolist(), **counts))
        with write_errors_named(self.part), self.part.open('a', encoding='utf-8') as file:
            file.write(self.lines[image] + '\n')

    def finish(self, images: Sequence[str], about: Dict[str, Any]) -> None:
        """Make it a finished row: ``about`` and then ``images``, in this order."""
        _replace(self.path, [json.dumps(about), *(self.lines[image] for image in images)])
        self.part.unlink()


def read_about(path: Path) -> Dict[str, Any]:
    """What the first line of a finished row says of its setting."""
    with path.open(encoding='utf-8') as file:
        return json.loads(file.readline())


def read_areas(path: Path) -> Areas:
    """The areas in a finished row."""
    first, *lines = path.read_text(encoding='utf-8').splitlines()
    rows = [json.loads(line) for line in lines]
    areas = np.zeros((3, len(rows), len(json.loads(first)['classes'])), np.int32)
    for index, row in enumerate(rows):
        areas[:, index, row['classes']] = row['intersect'], row['predicted'], row['truth']
    return Areas([row['image'] for row in rows], *areas)


def _read_part(path: Path) -> Dict[str, str]:
    """The lines of an unfinished row by image, without one that was cut off."""
    if not path.is_file():
        return {}
    lines = path.read_text(encoding='utf-8').split('\n')[:-1]  # behind the last line break stands nothing, or half a line
    return {json.loads(line)['image']: line for line in lines}


def _replace(path: Path, lines: Iterable[str]) -> None:
    write_text(path, ''.join(f'{line}\n' for line in lines))
