import csv

from rich.console import Console

from ovseg.tables import csv_table, markdown_table, terminal_table

HEADS, ROWS = ['name', 'note', 'share'], [['a|b', 'x, "y"\nz', '7.5'], ['', '[red]', '11.25']]


def test_csv_is_read_as_it_was_written():
    text = csv_table(HEADS, ROWS)
    assert list(csv.reader(text.splitlines(keepends=True))) == [HEADS, *ROWS] and '\r' not in text


def test_markdown_has_a_line_for_each_row_and_escaped_bars():
    assert markdown_table(HEADS, [['a|b', 'y', '7.5'], ROWS[1]], numbers=1) == (
        '| name | note | share |\n| --- | --- | ---: |\n| a\\|b | y | 7.5 |\n|  | [red] | 11.25 |\n')


def test_a_terminal_shows_numbers_aligned_to_the_right():
    console = Console(width=60, markup=False, record=True)
    console.print(terminal_table(HEADS, ROWS, 'a title', numbers=1))
    text = console.export_text()
    lines = [line.split('│')[1:-1] for line in text.splitlines() if line.startswith('│')]
    assert 'a title' in text.splitlines()[0] and [line[0].strip() for line in lines] == ['a|b', '', '']
    assert [line[2] for line in lines] == ['   7.5 ', '       ', ' 11.25 '] and lines[2][1].strip() == '[red]'


def test_a_long_word_is_folded_in_a_terminal():
    path = '/'.join(f'folder{index}' for index in range(23))
    console = Console(width=41, record=True)
    console.print(terminal_table(['file', 'share'], [[path, '7']], numbers=1))
    cells = [line.split('│')[1].strip() for line in console.export_text().splitlines() if line.startswith('│')]
    assert ''.join(cells) == path
