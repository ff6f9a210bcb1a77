"""Rows of an ablation on disk: areas per image and class, written image by image.

``DIGEST.part.jsonl`` grows while a setting runs; complete and in the order of the data set it becomes ``DIGEST.jsonl``. Each
line begins with its checksum. A killed run leaves whole lines, except perhaps for the last one, and the next run continues
after them.
"""
import json
import os
import zlib
from pathlib import Path
from types import MappingProxyType
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Sequence, Tuple

import numpy as np
from mmengine.logging import print_log

from ovseg.evaluation.run_record import Stamps
from ovseg.files import write_errors_named, write_text
from ovseg.utils import quoted

PIXELS = 'pixels'


class Areas(NamedTuple):
    """Pixels per image and class, ``(n, K)`` int32 each, and the names of the images.

    ``intersect`` have the class in ground truth and prediction, ``predicted`` in the prediction, ``ground_truth`` in the ground
    truth.
    """
    images: List[str]
    intersect: np.ndarray
    predicted: np.ndarray
    ground_truth: np.ndarray

    @property
    def union(self) -> np.ndarray:
        """Pixels that have the class in ground truth or prediction, ``(n, K)``."""
        return self.predicted + self.ground_truth - self.intersect


def row_file(folder: Path, digest: str) -> Path:
    """Path of the finished row."""
    return folder / 'rows' / f'{digest}.jsonl'


class RowWriter:
    """Writes one row.

    Args:
        folder: The ablation's.
        digest: The setting's.
        stamps: The files of each image, see ``dataset_stamps``, in the order of the data set.

    Attributes:
        lines: What is there by image, without lines that are damaged or of files that have changed.
    """

    def __init__(self, folder: Path, digest: str, stamps: Mapping[str, Stamps]) -> None:
        self.path = row_file(folder, digest)
        self.part = self.path.with_suffix('.part.jsonl')
        self.stamps = stamps
        self.lines = {row['image']: line for line, row in _whole_lines(self.part) if _is_of(row, stamps)}

    @property
    def finished(self) -> bool:
        """True where the finished row is there, undamaged, and of the files as they are now."""
        rows = [row for _, row in _whole_lines(self.path)][1:]
        return [row.get('image') for row in rows] == list(self.stamps) and all(_is_of(row, self.stamps) for row in rows)

    def reopen(self) -> None:
        """Turn what is there of a row under its final name into an unfinished row, whose other lines stay usable."""
        if self.path.is_file() and not self.finished:
            print_log(f'{quoted(self.path)} is damaged, or images or masks have changed since: they are evaluated again',
                      'current', 30)
            os.replace(self.path, self.part)

    def keep(self, images: Sequence[str]) -> None:
        """Start with the lines of ``images``, which are there, and no others."""
        self.lines = {image: self.lines[image] for image in images}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        _replace(self.part, self.lines.values())

    def add(self, image: str, areas: np.ndarray, changed: Mapping[str, float] = MappingProxyType({})) -> None:
        """Append an image's ``class_areas`` under its name.

        Args:
            image: The name.
            areas: Areas per class.
            changed: Pixels whose label differs from that of another setting, by its digest; and the number of all pixels under
                ``PIXELS``.
        """
        present = np.flatnonzero(areas.any(axis=0))
        counts = dict(zip(('intersect', 'predicted', 'ground_truth'), areas[:, present].tolist()))
        row = dict(image=image, files=self.stamps[image], classes=present.tolist(), **counts,
                   changed=dict(changed))
        self.lines[image] = _sealed(json.dumps(row))
        with write_errors_named(self.part), self.part.open('a', encoding='utf-8') as file:
            file.write(self.lines[image] + '\n')

    def finish(self, images: Sequence[str], about: Dict[str, Any]) -> None:
        """Make it a finished row: ``about`` and then ``images``, in this order."""
        _replace(self.path, [_sealed(json.dumps(about)), *(self.lines[image] for image in images)])
        self.part.unlink()


def read_about(path: Path) -> Dict[str, Any]:
    """The setting that the first line of a finished row describes."""
    return _rows(path)[0]


def read_areas(path: Path) -> Areas:
    """The areas in a finished row."""
    about, *rows = _rows(path)
    areas = np.zeros((3, len(rows), len(about['classes'])), np.int32)
    for index, row in enumerate(rows):
        areas[:, index, row['classes']] = row['intersect'], row['predicted'], row['ground_truth']
    return Areas([row['image'] for row in rows], *areas)


def read_changed(path: Path, digest: str) -> float:
    """Share of the area of all images whose label differs from that of another setting; NaN where it was not compared.

    Args:
        path: A finished row.
        digest: The other setting's.
    """
    changed = [row.get('changed', {}) for row in _rows(path)[1:]]
    if not all(digest in each for each in changed):
        return np.nan
    return sum(each[digest] for each in changed) / sum(each[PIXELS] for each in changed)


def _sealed(text: str) -> str:
    """``text`` after its checksum."""
    return f'{zlib.crc32(text.encode()):08x} {text}'


def _whole_lines(path: Path) -> List[Tuple[str, Dict[str, Any]]]:
    """The lines of a file with the right checksum, and their content."""
    lines = path.read_text(encoding='utf-8', errors='replace').split('\n') if path.is_file() else []
    return [(line, json.loads(line[9:])) for line in lines if line and line == _sealed(line[9:])]


def _rows(path: Path) -> List[Dict[str, Any]]:
    """The content of all lines of a finished row, of which none may be damaged."""
    rows = [row for _, row in _whole_lines(path)]
    if len(rows) != path.read_bytes().rstrip(b'\n').count(b'\n') + 1:
        raise ValueError(f'{quoted(path)} is damaged: the same command evaluates its damaged lines again')
    return rows


def _is_of(row: Mapping[str, Any], stamps: Mapping[str, Stamps]) -> bool:
    """True where a line is of an image of the data set whose files have not changed since."""
    return row.get('image') in stamps and row['files'] == stamps[row['image']]


def _replace(path: Path, lines: Iterable[str]) -> None:
    write_text(path, ''.join(f'{line}\n' for line in lines))
