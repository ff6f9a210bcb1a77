"""Scenes of the embedded demo: textured ground with patterned objects on it, with label maps and captions.

Nothing is stored: a scene is a pure function of its random generator, so training images are drawn on the fly and
never repeat, and the 60 shipped held-out scenes can be redrawn at any time (``tools/make_demo_scenes.py``).
"""
from typing import NamedTuple, Sequence, Tuple

import cv2
import numpy as np

from ovseg.demo.textures import CLASSES, PAINTERS, STUFF, THINGS, smooth_noise

HELD_OUT = 2 ** 31


class Scene(NamedTuple):
    """One scene: ``image (H, W, 3)`` uint8 RGB, ``labels (H, W)`` uint8 indices into ``CLASSES``, ``names`` of the
    classes that cover at least one percent of it.
    """
    image: np.ndarray
    labels: np.ndarray
    names: Tuple[str, ...]


def draw_scene(rng: np.random.Generator, height: int, width: int) -> Scene:
    """Two or three kinds of ground with curved borders, and up to three objects of random outline, angle and scale."""
    stuff = rng.choice(list(STUFF), size=rng.integers(2, 4), replace=False)
    things = rng.choice(list(THINGS), size=rng.integers(1, 4), replace=False)
    labels = _regions(rng, height, width, [CLASSES.index(name) for name in stuff])
    for name in things:
        cv2.fillPoly(labels, [_outline(rng, height, width)], CLASSES.index(name))
    return _paint(rng, labels)


def draw_held_out(seed: int, index: int) -> Scene:
    """Scene ``index`` of the held-out ones, of which 60 of seed 0 are shipped. Its height and width are random, too."""
    rng = np.random.default_rng((HELD_OUT, seed, index))  # training draws from (seed, index), which gives other streams
    height, width = 32 * rng.integers(7, 15), 32 * rng.integers(7, 21)
    return draw_scene(rng, height, width)


def draw_close_up(rng: np.random.Generator, height: int, width: int) -> Scene:
    """One class that fills the image."""
    return _paint(rng, np.full((height, width), rng.integers(len(CLASSES)), np.uint8))


def caption(rng: np.random.Generator, names: Sequence[str], templates: Sequence[str]) -> str:
    """A sentence that names every class in the scene, in random order, inside a random prompt template."""
    shuffled = [str(name) for name in rng.permutation(list(names))]
    listing = ' and '.join(filter(None, [', '.join(shuffled[:-1]), shuffled[-1]]))
    return templates[int(rng.integers(len(templates)))].format(listing)


def _regions(rng: np.random.Generator, height: int, width: int, classes: Sequence[int]) -> np.ndarray:
    """Label map in which each class owns the part of the image where its smooth random height map is the largest."""
    cell = 0.5 * max(height, width)
    heights = [smooth_noise(rng, height, width, (cell, cell)) for _ in classes]
    return np.asarray(classes, np.uint8)[np.argmax(heights, axis=0)]


def _outline(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A closed curve around a random point: an ellipse whose radius is modulated by a few random harmonics."""
    angle = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    radius = np.ones_like(angle)
    for order in range(2, 6):
        radius += rng.uniform(0, 0.35) / order * np.cos(order * angle + rng.uniform(0, 2 * np.pi))
    radius *= rng.uniform(0.2, 0.34) * min(height, width)
    stretch, turn = rng.uniform(0.7, 1.0), rng.uniform(0, np.pi)
    x, y = radius * np.cos(angle), stretch * radius * np.sin(angle)
    centre = rng.uniform(0.15, 0.85, 2) * (width, height)
    points = centre + np.stack([np.cos(turn) * x - np.sin(turn) * y, np.sin(turn) * x + np.cos(turn) * y], -1)
    return points.round().astype(np.int32)


def _paint(rng: np.random.Generator, labels: np.ndarray) -> Scene:
    """Fill a label map with its classes' textures under one random light."""
    image = np.empty((*labels.shape, 3), np.float32)
    areas = np.bincount(labels.ravel(), minlength=len(CLASSES))
    for index in np.flatnonzero(areas).tolist():
        mask = (labels == index).astype(np.uint8)
        left, top, width, height = cv2.boundingRect(mask)  # only the box around a class is painted
        box = slice(top, top + height), slice(left, left + width)
        cv2.copyTo(PAINTERS[CLASSES[index]](rng, height, width).astype(np.float32), mask[box], image[box])
    light = rng.uniform(0.75, 1.15) * (1 + rng.uniform(-0.08, 0.08, 3))
    shading = 1 + 0.3 * (smooth_noise(rng, labels.shape[0], labels.shape[1], (120, 120)) - 0.5)
    image *= (255 * light).astype(np.float32) * shading[..., None]
    image += 5 * rng.standard_normal(labels.shape, dtype=np.float32)[..., None]
    names = tuple(CLASSES[index] for index in np.flatnonzero(areas >= 0.01 * labels.size).tolist())
    return Scene(cv2.convertScaleAbs(np.maximum(image, 0)), labels, names)
