"""Colours for classes that have none of their own."""
from typing import List

import cv2
import numpy as np

OKABE_ITO = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167))
LEVELS = np.linspace(0, 255, 16).round()  # of red, green and blue in the colours to choose from

# What linear RGB looks like to a reader with normal vision, deuteranopia, protanopia: Machado, Oliveira and Fernandes (2009)
READERS = np.array([
    [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]])


def distinct_colours(count: int) -> List[List[int]]:
    """``count`` RGB colours, 0 to 255, that differ as much as they can, also to colour-blind readers.

    First the seven colours of Okabe and Ito (2008; their eighth is black), then, one by one, the colour of a grid that is
    farthest from all before it. The distance of two colours is their ΔE (CIE 1976) to the reader to whom they look most
    alike. Colour i does not depend on ``count``. The grid has some 3,000 colours that are neither near black nor near
    white; behind them the colours repeat.
    """
    colours = np.array(OKABE_ITO, np.float64)
    grid = np.stack(np.meshgrid(LEVELS, LEVELS, LEVELS, indexing='ij'), axis=-1).reshape(-1, 3)
    lightness = _seen(grid)[0, :, 0]
    grid = grid[(lightness > 25) & (lightness < 93)]
    seen, nearest = _seen(grid), np.full(len(grid), np.inf)
    for colour in _seen(colours).transpose(1, 0, 2):
        nearest = np.minimum(nearest, _distances(seen, colour))
    chosen = []
    for _ in range(min(count - len(colours), len(grid))):
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, _distances(seen, seen[:, chosen[-1]]))
    colours = np.concatenate([colours, grid[chosen]])
    return colours[np.arange(count) % len(colours)].astype(int).tolist()


def _seen(colours: np.ndarray) -> np.ndarray:
    """CIELAB of ``colours (n, 3)`` as each reader sees them, ``(3, n, 3)``."""
    share = colours / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    seen = np.einsum('rij,nj->rni', READERS, linear).clip(0, 1)
    return cv2.cvtColor(seen.astype(np.float32), cv2.COLOR_LRGB2Lab)


def _distances(seen: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """From each of ``seen (3, n, 3)`` to ``colour (3, 3)``, to the reader who tells them apart least: ``(n,)``."""
    return np.linalg.norm(seen - colour[:, None], axis=-1).min(axis=0)
