"""Results as figures."""
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ovseg.ablation.results import Result
from ovseg.ablation.spread import Spread
from ovseg.ablation.statistics import LEVEL

BETTER, WORSE = '#0072B2', '#D55E00'
COLOURS = (BETTER, WORSE, '#009E73', '#E69F00', '#CC79A7', '#56B4E9')  # Okabe and Ito's, but the pale yellow
MARKERS = 'osD^vPX'  # one more than there are colours, so that the pairs repeat late
DOTS: Dict[str, Any] = dict(color='#333333', linestyle='', marker='o', markersize=4, markeredgecolor='white',
                            markeredgewidth=0.5)
LARGEST_CLASSES = 15  # in a plot of the classes that differ most
INTERVAL = f'{LEVEL:.0%} interval'

Line = List[Tuple[float, Result]]


def draw_deltas(rows: Sequence[Result]) -> Figure:
    """A bar per setting for its Δ, with its interval and a dot for each class.

    Args:
        rows: The results of one benchmark, the baseline first.
    """
    baseline, *others = rows
    names = [result.setting.name.replace(', ', ',\n') for result in others]
    row_height = 0.26 + 0.17 * max(name.count('\n') + 1 for name in names)
    figure = Figure(figsize=(7.5, 1.6 + row_height * len(others)), dpi=150, layout='constrained')
    plot = figure.subplots()
    for place, result in enumerate(others):
        plot.barh(place, result.delta, height=0.62, color=BETTER if result.delta >= 0 else WORSE, zorder=2)
        deltas = result.class_delta[np.isfinite(result.class_delta)]
        plot.plot(deltas, place + np.random.default_rng(0).uniform(-0.24, 0.24, len(deltas)), zorder=3, **DOTS)
        plot.plot([result.low, result.high], [place, place], color='black', linewidth=1.8, marker='|', markersize=9, zorder=4)
    plot.axvline(0, color='black', linewidth=0.8, zorder=1)
    plot.set_yticks(range(len(others)), names, fontsize=9)
    plot.set_ylim(len(others) - 0.4, -0.6)
    plot.grid(axis='x', alpha=0.3)
    plot.set(xlabel='Δ IoU in points')
    title = [baseline.setting.benchmark, f'baseline {baseline.metrics["mIoU"]:.2f} mIoU', baseline.limited]
    figure.suptitle(', '.join(filter(None, title)), fontsize=11)
    handles = [Patch(color=BETTER, label='Δ mIoU, better'), Patch(color=WORSE, label='Δ mIoU, worse'),
               Line2D([], [], color='black', linewidth=1.8, marker='|', label=INTERVAL),
               Line2D([], [], label='one class', **DOTS)]
    figure.legend(handles=handles, loc='outside lower center', ncols=4, fontsize=8, frameon=False)
    return figure


def draw_spread(spread: Spread) -> Figure:
    """The range of each class' IoU with a point per row, for the classes that differ most; mIoU above them."""
    classes = spread.order[:LARGEST_CLASSES]
    names = ['mIoU', *(spread.rows[0].classes[index] for index in classes)]
    figure = Figure(figsize=(7.5, 2 + 0.26 * len(names) + 0.2 * len(spread.rows)), dpi=150, layout='constrained')
    plot = figure.subplots()
    for index, result in enumerate(spread.rows):
        values = [float(np.nanmean(result.iou)), *result.iou[classes]]
        plot.plot(values, range(len(names)), linestyle='', color=COLOURS[index % len(COLOURS)],
                  marker=MARKERS[index % len(MARKERS)], markersize=5, zorder=3, label=result.setting.name)
    plot.hlines(range(1, len(names)), spread.low[classes], spread.high[classes], color='#999999', linewidth=1.5, zorder=2)
    plot.axhline(0.5, color='black', linewidth=0.8)
    plot.set_yticks(range(len(names)), names, fontsize=9)
    plot.set_ylim(len(names) - 0.5, -0.5)
    plot.grid(axis='x', alpha=0.3)
    plot.set(xlabel='IoU in percent')
    first = spread.rows[0]
    title = [first.setting.benchmark, f'classes that differ most by {spread.axis}', spread.beside, first.limited]
    figure.suptitle(', '.join(filter(None, title)), fontsize=11)
    figure.legend(loc='outside lower center', ncols=1, fontsize=8, frameon=False)
    return figure


def line_axes(benchmarks: Sequence[Sequence[Result]]) -> List[str]:
    """The grid axes of numbers along which at least one line has two points."""
    keys = dict.fromkeys(key for rows in benchmarks for result in rows for key in result.setting.points)
    return [key for key in keys if any(len(line) > 1 for line in lines_along(key, benchmarks).values())]


def lines_along(axis: str, benchmarks: Sequence[Sequence[Result]]) -> Dict[str, Line]:
    """The points of each line along a grid axis, by the line's name; none where the axis has values that are no numbers."""
    lines: Dict[str, Line] = {}
    for rows in benchmarks:
        for result in rows:
            if axis not in result.setting.points:
                continue
            value, beside = result.setting.points[axis]
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                return {}
            several = [result.setting.benchmark] if len(benchmarks) > 1 else []
            lines.setdefault(', '.join(filter(None, [*several, beside])), []).append((value, result))
    return {name: sorted(line, key=lambda point: point[0]) for name, line in lines.items()}


def draw_line(axis: str, benchmarks: Sequence[Sequence[Result]]) -> Figure:
    """Δ against the values of a grid axis, with intervals; one line per benchmark and combination of the other axes."""
    lines = lines_along(axis, benchmarks)
    figure = Figure(figsize=(6.5, 3.7 + 0.2 * len(lines)), dpi=150, layout='constrained')
    plot = figure.subplots()
    plot.axhline(0, color='black', linewidth=1, linestyle='--', label='baseline')
    for index, (name, line) in enumerate(lines.items()):
        colour = COLOURS[index % len(COLOURS)]
        plot.plot([value for value, _ in line], [result.delta for _, result in line], color=colour, linewidth=1.5,
                  marker=MARKERS[index % len(MARKERS)], label=name or line[0][1].setting.benchmark)
        for value, result in line:
            plot.plot([value, value], [result.low, result.high], color=colour, linewidth=1.2, marker='_', markersize=8)
    ticks = sorted({value for line in lines.values() for value, _ in line})
    if ticks[0] > 0 and ticks[-1] / ticks[0] >= 20:
        plot.set_xscale('log')
    plot.set_xticks(ticks, [f'{tick:g}' for tick in ticks])
    plot.minorticks_off()
    plot.set(xlabel=axis.replace('model.', ''), ylabel='Δ mIoU in points')
    plot.grid(alpha=0.3)
    limited = next((rows[0].limited for rows in benchmarks if rows[0].limited), '')
    figure.suptitle(', '.join(filter(None, [f'Δ mIoU with {INTERVAL}s', limited])), fontsize=11)
    figure.legend(loc='outside lower center', ncols=1, fontsize=8, frameon=False)
    return figure
