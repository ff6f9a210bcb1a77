"""Tables of text cells: as CSV, as Markdown, and for a terminal."""
import csv
import io
from typing import Any, Iterable, Sequence

from rich.table import Column, Table


def csv_table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A line for the heads and one for each row, by the rules of CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator='\n').writerows([heads, *rows])
    return text.getvalue()


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: int = 0) -> str:
    """A Markdown table whose last ``numbers`` columns are aligned to the right."""
    marks = ['---'] * (len(heads) - numbers) + ['---:'] * numbers
    return ''.join('| ' + ' | '.join(cell.replace('|', r'\|') for cell in line) + ' |\n' for line in (heads, marks, *rows))


def terminal_table(heads: Sequence[str], rows: Iterable[Sequence[str]], title: str = '', numbers: int = 0) -> Table:
    """A table of rich whose last ``numbers`` columns are aligned to the right and not wrapped; others are folded, not cut."""
    table = Table(*(Column(head, overflow='fold') for head in heads[:len(heads) - numbers]), title=title or None)
    for head in heads[len(heads) - numbers:]:
        table.add_column(head, justify='right', no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table
