"""Results as tables: CSV, markdown, LaTeX, terminal."""
import re
from pathlib import Path
from typing import Dict, List, Sequence

import numpy as np
from rich.table import Table

from ovseg import tables
from ovseg.ablation.plots import INTERVAL, draw_deltas, draw_line, draw_spread, line_axes
from ovseg.ablation.results import Result
from ovseg.ablation.spread import COLUMNS as SPREAD_COLUMNS
from ovseg.ablation.spread import spread_lines, spread_note, spreads
from ovseg.ablation.statistics import RESAMPLES
from ovseg.files import write_figure, write_text
from ovseg.utils import quoted
from ovseg.vocabulary.word_record import word_line

WORDS = ('class_list', 'class_count', 'name_count', 'class_list_sha256', 'templates', 'template_count', 'background_words')
COLUMNS = ('benchmark', 'setting', 'mIoU', 'aAcc', 'mAcc', 'delta_mIoU', 'low', 'high', 'changed_area', 'images', 'limit',
           *WORDS, 'command')
CHANGED = 'changed area'
LATEX = {'\\': r'\textbackslash{}', '~': r'\textasciitilde{}', '^': r'\textasciicircum{}',
         **{letter: f'\\{letter}' for letter in '&%$#_{}'}}


def write_report(benchmarks: Sequence[Sequence[Result]], combine: str, folder: Path) -> List[Path]:
    """Write ``table.csv``, ``.md`` and ``.tex``, a plot of Δ per benchmark and one per numeric axis; returns the files.

    Where rows differ in words only, also ``spread.csv``, and a plot for each group of such rows.
    """
    notes = notes_on(benchmarks, combine)
    texts = {'table.csv': csv_table(benchmarks), 'table.md': markdown_table(benchmarks, notes),
             'table.tex': latex_table(benchmarks, notes)}
    found = [spread for rows in benchmarks for spread in spreads(rows)]
    if found:
        texts['spread.csv'] = tables.csv_table(SPREAD_COLUMNS, [line for spread in found for line in spread_lines(spread)])
    for name, text in texts.items():
        write_text(folder / name, text)
    figures = {f'delta_{rows[0].setting.benchmark}.png': draw_deltas(rows) for rows in benchmarks if len(rows) > 1}
    figures.update({f'line_{axis}.png': draw_line(axis, benchmarks) for axis in line_axes(benchmarks)})
    for number, spread in enumerate(found, 1):
        figures[f'spread_{number}_{spread.axis}_{spread.rows[0].setting.benchmark}.png'] = draw_spread(spread)
    for name, figure in figures.items():
        write_figure(figure, folder / name)
    return [folder / name for name in (*texts, *figures)]


def notes_on(benchmarks: Sequence[Sequence[Result]], combine: str) -> List[str]:
    """Notes that a reader of the tables needs."""
    notes = [f'Δ: mIoU less that of the first row, in points, with the {INTERVAL} of a paired bootstrap over images '
             f'({RESAMPLES} resamples). {CHANGED.capitalize()}: the share of the image area whose label differs from '
             'that of the first row.']
    if combine == 'cumulative':
        notes.append('Every row keeps what the rows above it have changed; of several values of one key, the last.')
    notes += [f'{quoted(rows[0].setting.benchmark)}: {spread_note(spread)}' for rows in benchmarks for spread in spreads(rows)]
    notes += [f'{quoted(rows[0].setting.benchmark)}: {rows[0].limited}, which is not the benchmark.' for rows in benchmarks
              if rows[0].limited]
    return notes


def csv_table(benchmarks: Sequence[Sequence[Result]]) -> str:
    """A line per row, with the command that repeats it."""
    lines = []
    for result in (result for rows in benchmarks for result in rows):
        figures = [f'{result.metrics[name]:.2f}' for name in ('mIoU', 'aAcc', 'mAcc')]
        delta = [f'{value:.2f}' if np.isfinite(value) else '' for value in (result.delta, result.low, result.high,
                                                                                   result.changed)]
        lines.append([result.setting.benchmark, result.setting.name, *figures, *delta, result.images, result.limited,
                      *[', '.join(value) if isinstance(value, list) else value
                        for value in (result.words[key] for key in WORDS)], result.setting.command])
    return tables.csv_table(COLUMNS, lines)


def markdown_table(benchmarks: Sequence[Sequence[Result]], notes: Sequence[str]) -> str:
    """A row per setting, four columns per benchmark, and the commands below."""
    heads = ['setting']
    for rows in benchmarks:
        heads += [f'{quoted(rows[0].setting.benchmark)} mIoU', 'Δ', INTERVAL, CHANGED]
    table = tables.markdown_table(heads, [[name, *cells] for name, cells in _body(benchmarks).items()], len(heads) - 1)
    commands = '\n'.join(f'    {result.setting.command}' for rows in benchmarks for result in rows)
    words = '\n'.join(f'- {line}' for line in _words(benchmarks))
    return (f'{table}\n' + '\n'.join(notes) + f'\n\nTo repeat each row, in this order:\n\n{commands}\n\n'
            f'Words of the rows, in this order:\n\n{words}\n')


def latex_table(benchmarks: Sequence[Sequence[Result]], notes: Sequence[str]) -> str:
    r"""The same as a ``table`` for booktabs."""
    names = [latex(quoted(rows[0].setting.benchmark)) for rows in benchmarks]
    top = ' & '.join(rf'\multicolumn{{4}}{{c}}{{{name}}}' for name in names)
    rules = ' '.join(rf'\cmidrule(lr){{{4 * index + 2}-{4 * index + 5}}}' for index in range(len(names)))
    body = [' & '.join([latex(name), *map(_latex_number, cells)]) + r' \\' for name, cells in _body(benchmarks).items()]
    heads = ' & '.join(['setting', *[r'mIoU & $\Delta$ & interval & changed'] * len(names)])
    lines = [r'% needs \usepackage{booktabs}', r'\begin{table}', r'\centering', rf'\caption{{{" ".join(map(latex, notes))}}}',
             rf'\begin{{tabular}}{{l{"rrcr" * len(names)}}}', r'\toprule', rf'& {top} \\', rules, rf'{heads} \\', r'\midrule',
             *body, r'\bottomrule', r'\end{tabular}', r'\end{table}', *(f'% {line}' for line in _words(benchmarks))]
    return '\n'.join(lines) + '\n'


def terminal_table(rows: Sequence[Result]) -> Table:
    """The rows of one benchmark."""
    first = rows[0]
    title = ', '.join(filter(None, [quoted(first.setting.benchmark), first.limited or f'{first.images} images',
                                    quoted(first.words['class_list'])]))
    lines = [[quoted(result.setting.name), *_cells(result, index == 0)] for index, result in enumerate(rows)]
    return tables.terminal_table(['setting', 'mIoU', 'Δ', INTERVAL, CHANGED], lines, title, numbers=4)


def latex(text: str) -> str:
    """``text`` with what LaTeX reads as commands written out."""
    return re.sub('[' + re.escape(''.join(LATEX)) + ']', lambda found: LATEX[found[0]], text).replace('Δ', r'$\Delta$')


def _body(benchmarks: Sequence[Sequence[Result]]) -> Dict[str, List[str]]:
    """The cells of each row name, benchmark by benchmark; empty where a benchmark has no such row."""
    body: Dict[str, List[str]] = {}
    for place, rows in enumerate(benchmarks):
        for index, result in enumerate(rows):
            cells = body.setdefault(quoted(result.setting.name), [''] * (4 * len(benchmarks)))
            cells[4 * place:4 * place + 4] = _cells(result, index == 0)
    return body


def _words(benchmarks: Sequence[Sequence[Result]]) -> List[str]:
    """Class list, templates and background words of each row."""
    results = [result for rows in benchmarks for result in rows]
    background = [', '.join(result.words['background_words']) for result in results]
    return [f'{quoted(result.setting.name)}: {word_line(result.words)}' + (f'; background words: {words}' if words else '')
            for result, words in zip(results, background)]


def _cells(result: Result, baseline: bool) -> List[str]:
    """mIoU, Δ, its interval, and the changed share of the area."""
    interval = f'[{result.low:+.2f}, {result.high:+.2f}]' if np.isfinite(result.low) else ''
    changed = f'{result.changed:.1f}%' if np.isfinite(result.changed) else ''
    return [f'{result.metrics["mIoU"]:.2f}', *(['', '', ''] if baseline else [f'{result.delta:+.2f}', interval, changed])]


def _latex_number(cell: str) -> str:
    return f'${cell}$' if cell[:1] in ('+', '-', '[') else latex(cell)
