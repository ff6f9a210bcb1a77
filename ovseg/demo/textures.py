"""Procedural textures of the demo scenes: eight kinds of ground ("stuff") and eight patterned objects ("things").

Each painter maps ``(rng, height, width)`` to an RGB image, ``(height, width, 3)`` float32 around [0, 1]. Palettes are
jittered so widely that they overlap between classes: the pattern decides, not the colour.
"""
from typing import Callable, Dict, Sequence, Tuple

import cv2
import numpy as np

Painter = Callable[[np.random.Generator, int, int], np.ndarray]
Range = Tuple[float, float]


def smooth_noise(rng: np.random.Generator, height: int, width: int, cell: Tuple[float, float]) -> np.ndarray:
    """Value noise around [0, 1]: a random lattice with a knot every ``cell = (dy, dx)`` pixels, bicubically enlarged."""
    rows, cols = (max(2, round(size / step) + 1) for size, step in zip((height, width), cell))
    lattice = rng.random((rows, cols), dtype=np.float32)
    return cv2.resize(lattice, (width, height), interpolation=cv2.INTER_CUBIC)


def rotated_grid(rng: np.random.Generator, height: int, width: int, spread: float = np.pi) -> Tuple[np.ndarray, ...]:
    """Pixel coordinates ``(u, v)`` turned by a random angle in [-spread, spread] and shifted by a random offset."""
    angle = rng.uniform(-spread, spread)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    y = np.arange(height, dtype=np.float32)[:, None] + np.float32(rng.uniform(0, 500))
    x = np.arange(width, dtype=np.float32) + np.float32(rng.uniform(0, 500))
    return cos * x + sin * y, cos * y - sin * x


def colour(rng: np.random.Generator, hue: Range, saturation: Range, value: Range) -> np.ndarray:
    """A random RGB colour from ranges of hue (turns, may leave [0, 1]), saturation and value."""
    hsv = np.array([[[rng.uniform(*hue) % 1.0 * 360, rng.uniform(*saturation), rng.uniform(*value)]]], np.float32)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0]


def blend(weight: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Colours from ``low`` (weight 0) to ``high`` (weight 1), per pixel."""
    return low + weight[..., None] * (high - low)


def edge(signal: np.ndarray, softness: float) -> np.ndarray:
    """A soft step at 0: 0 where ``signal`` is under ``-softness``, 1 above ``softness``."""
    return np.clip(0.5 + 0.5 * signal / softness, 0, 1)


def scattered_points(rng: np.random.Generator, height: int, width: int, step: float,
                     jitter: float) -> Tuple[np.ndarray, np.ndarray]:
    """Points on a jittered lattice ``step`` pixels apart: per pixel the distance to, and the number of, the nearest."""
    ys = np.arange(rng.uniform(0, step), height + step, step)
    xs = np.arange(rng.uniform(0, step), width + step, step)
    grid = np.stack(np.meshgrid(ys, xs, indexing='ij'), -1)
    grid[1::2, :, 1] += step / 2
    grid = (grid + rng.uniform(-jitter, jitter, grid.shape) * step).reshape(-1, 2).astype(int)
    grid = grid[((grid >= 0) & (grid < (height, width))).all(1)]
    seeds = np.ones((height, width), np.uint8)
    seeds[grid[:, 0], grid[:, 1]] = 0
    return cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)


# ---- stuff -----------------------------------------------------------------------------------------------------------


def grass(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Upright blades."""
    blades = 0.6 * smooth_noise(rng, height, width, (rng.uniform(8, 14), 1.7))
    blades += 0.4 * smooth_noise(rng, height, width, (rng.uniform(14, 24), 3.5))
    hue = rng.uniform(0.13, 0.42)
    return blend(edge(blades - 0.5, 0.3), colour(rng, (hue, hue + .05), (.5, .9), (.1, .35)),
                 colour(rng, (hue - .06, hue), (.4, .8), (.5, .9)))


def water(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Wavy, mostly level ripples."""
    _, v = rotated_grid(rng, height, width, 0.15)
    swell = smooth_noise(rng, height, width, (rng.uniform(10, 18), rng.uniform(30, 50)))
    ripples = 0.5 + 0.5 * np.sin(v * (2 * np.pi / rng.uniform(9, 18)) + 9 * swell)
    hue = rng.uniform(0.42, 0.68)
    return blend(ripples ** 2, colour(rng, (hue, hue), (.4, .9), (.2, .5)), colour(rng, (hue, hue), (.1, .5), (.6, .95)))


def brick(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Rows of shifted bricks with mortar."""
    u, v = rotated_grid(rng, height, width, 0.3)
    brick_height, ratio, mortar = rng.uniform(11, 20), rng.uniform(2, 2.6), rng.uniform(1.5, 2.5)
    row = np.floor(v / brick_height)
    across = u + row % 2 * (brick_height * ratio / 2)
    column = np.floor(across / (brick_height * ratio))
    gap = np.minimum(v - row * brick_height, across - column * brick_height * ratio)
    tone = (np.sin(row * 12.9898 + column * 78.233) * 43758.5453) % 1
    face = blend(0.6 * tone + 0.4 * smooth_noise(rng, height, width, (3, 3)), colour(rng, (-.05, .12), (.2, .8), (.3, .5)),
                 colour(rng, (-.05, .12), (.2, .8), (.55, .85)))
    return np.where((gap < mortar)[..., None], colour(rng, (0, 1), (0, .15), (.6, .95)), face)


def sand(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Fine grain over soft dunes."""
    grain = rng.random((height, width), dtype=np.float32)
    dunes = smooth_noise(rng, height, width, (25, 60))
    hue = rng.uniform(0.02, 0.16)
    return blend(0.55 * grain + 0.45 * dunes, colour(rng, (hue, hue), (.2, .6), (.45, .6)),
                 colour(rng, (hue, hue), (.1, .45), (.85, 1)))


def snow(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Pale lumps lit from one side."""
    lumps = smooth_noise(rng, height, width, (rng.uniform(7, 10), rng.uniform(10, 14)))
    slope = np.clip(cv2.Sobel(lumps, cv2.CV_32F, 1, 1, ksize=3) * 3 + 0.6, 0, 1)
    hue = rng.uniform(0, 1)
    return blend(slope, colour(rng, (hue, hue), (.08, .3), (.6, .8)), colour(rng, (hue, hue), (0, .06), (.92, 1)))


def wood(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Long grain with rings and gaps between planks."""
    u, _ = rotated_grid(rng, height, width, 0.35)
    figure = smooth_noise(rng, height, width, (rng.uniform(60, 110), 16))
    rings = 0.5 + 0.5 * np.sin(u * (2 * np.pi / rng.uniform(10, 18)) + 14 * figure)
    fibre = smooth_noise(rng, height, width, (40, 1.5))
    plank = u % rng.uniform(45, 80) < 2
    hue = rng.uniform(0.0, 0.13)
    board = blend(0.65 * rings + 0.35 * fibre, colour(rng, (hue, hue), (.3, .8), (.2, .45)),
                  colour(rng, (hue, hue + .04), (.2, .65), (.55, .85)))
    return np.where(plank[..., None], board * 0.4, board)


def gravel(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Packed stones with dark gaps."""
    step = rng.uniform(9, 15)
    distance, label = scattered_points(rng, height, width, step, 0.35)
    tone = rng.random(label.max() + 1, dtype=np.float32)[label]
    stone = blend(tone, colour(rng, (0, 1), (0, .25), (.35, .5)), colour(rng, (0, 1), (0, .25), (.7, .95)))
    return stone * np.clip(1.25 - (distance / (0.62 * step)) ** 2, 0.1, 1)[..., None]


def sky(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Soft clouds, denser towards the ground."""
    clouds = 0.65 * smooth_noise(rng, height, width, (rng.uniform(35, 55), rng.uniform(70, 110)))
    clouds += 0.35 * smooth_noise(rng, height, width, (18, 36))
    fall = np.linspace(0, 0.35, height, dtype=np.float32)[:, None]
    hue = rng.choice([rng.uniform(.5, .66), rng.uniform(-.04, .1)], p=[.75, .25])
    return blend(edge(clouds + fall - 0.6, 0.3), colour(rng, (hue, hue), (.3, .85), (.6, .95)),
                 colour(rng, (hue, hue), (0, .15), (.85, 1)))


# ---- things ----------------------------------------------------------------------------------------------------------


def zebra(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Warped dark and light stripes."""
    u, _ = rotated_grid(rng, height, width)
    warp = smooth_noise(rng, height, width, (40, 40))
    stripes = np.sin(u * (2 * np.pi / rng.uniform(13, 22)) + 7 * warp)
    return blend(edge(stripes, 0.35), colour(rng, (0, 1), (0, .4), (0, .2)), colour(rng, (0, 1), (0, .2), (.8, 1)))


def ladybug(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Dark dots on a bright shell."""
    step = rng.uniform(20, 30)
    distance, _ = scattered_points(rng, height, width, step, 0.14)
    return blend(edge(distance - rng.uniform(.26, .33) * step, 1.5), colour(rng, (0, 1), (0, .5), (0, .2)),
                 colour(rng, (-.1, .15), (.7, 1), (.65, 1)))


def chessboard(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A turned checkerboard."""
    u, v = rotated_grid(rng, height, width)
    square = np.pi / rng.uniform(11, 19)
    squares = np.sin(u * square) * np.sin(v * square)
    return blend(edge(squares, 0.12), colour(rng, (0, 1), (.1, .7), (.05, .4)), colour(rng, (0, 1), (0, .4), (.75, 1)))


def watermelon(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Broad stripes with ragged edges."""
    u, _ = rotated_grid(rng, height, width)
    warp = 2.5 * smooth_noise(rng, height, width, (30, 30)) + 4.5 * smooth_noise(rng, height, width, (6, 6))
    stripes = np.sin(u * (2 * np.pi / rng.uniform(26, 40)) + warp)
    hue = rng.uniform(.2, .45)
    return blend(edge(stripes + 0.2, 0.35), colour(rng, (hue, hue), (.6, 1), (.1, .35)),
                 colour(rng, (hue - .07, hue), (.35, .8), (.6, .95)))


def honeycomb(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Hexagonally packed cells."""
    u, v = rotated_grid(rng, height, width)
    wave = 2 * np.pi / rng.uniform(15, 23)
    cells = sum(np.cos(wave * (u * np.float32(np.cos(turn)) + v * np.float32(np.sin(turn))))
                for turn in (0, 2 * np.pi / 3, 4 * np.pi / 3))
    return blend(edge(cells + 0.7, 0.5), colour(rng, (.06, .2), (.3, .7), (.8, 1)), colour(rng, (.02, .16), (.6, 1), (.3, .6)))


def leopard(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Irregular rings on fur."""
    step = rng.uniform(18, 26)
    distance, _ = scattered_points(rng, height, width, step, 0.2)
    distance = distance + 6 * (smooth_noise(rng, height, width, (6, 6)) - 0.5)
    fur = colour(rng, (.03, .16), (.2, .8), (.65, .95))
    rosettes = blend(edge(np.abs(distance - 0.32 * step) - 0.1 * step, 1.5), colour(rng, (0, .15), (.2, .8), (.02, .2)), fur)
    return np.where((distance < 0.22 * step)[..., None], fur * np.float32(rng.uniform(.6, .8)), rosettes)


def tartan(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Two crossing sets of bands and lines."""
    u, v = rotated_grid(rng, height, width, 0.5)
    period = rng.uniform(26, 40)
    wide, thin = rng.uniform(.25, .4), rng.uniform(.05, .09)
    ground, band, line = (colour(rng, (0, 1), (.4, 1), value) for value in ((.3, .8), (.05, .45), (.85, 1)))
    cloth = np.broadcast_to(ground, (height, width, 3))
    for axis in (u, v):
        phase = axis / period % 1
        cloth = np.where((phase < wide)[..., None], 0.5 * cloth + 0.5 * band, cloth)
        cloth = np.where((np.abs(phase - 0.7) < thin)[..., None], 0.35 * cloth + 0.65 * line, cloth)
    return cloth


def strawberry(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Small pale seeds in rows on a saturated skin."""
    step = rng.uniform(10, 14)
    distance, _ = scattered_points(rng, height, width, step, 0.1)
    skin = blend(smooth_noise(rng, height, width, (20, 20)), colour(rng, (-.1, .06), (.7, 1), (.45, .6)),
                 colour(rng, (-.1, .06), (.7, 1), (.75, 1)))
    seed = edge(0.24 * step - distance, 1.2)[..., None]
    return skin + seed * (colour(rng, (.1, .18), (.2, .6), (.9, 1)) - skin)


STUFF: Dict[str, Painter] = dict(grass=grass, water=water, brick=brick, sand=sand, snow=snow, wood=wood, gravel=gravel,
                                 sky=sky)
THINGS: Dict[str, Painter] = dict(zebra=zebra, ladybug=ladybug, chessboard=chessboard, watermelon=watermelon,
                                  honeycomb=honeycomb, leopard=leopard, tartan=tartan, strawberry=strawberry)
PAINTERS: Dict[str, Painter] = {**STUFF, **THINGS}
CLASSES: Sequence[str] = tuple(PAINTERS)
