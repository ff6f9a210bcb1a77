"""docs/datasets.md: its tables are those of the rows, and its commands convert.

After a change of a row, ``python tests/docs/test_datasets.py`` writes the tables anew.
"""
import re
import runpy
from pathlib import Path

import pytest

from ovseg.cli.convert import converters
from ovseg.sets import FAMILIES, ROWS
from ovseg.vocabulary import read_class_list

NAME = 'docs/datasets.md'
PAGES = runpy.run_path(str(Path(__file__).parent / 'pages.py'))
TEXT = PAGES['read'](NAME)
HEAD = ['| name | data set | images | classes | licence | from | files |', '|---|---|---|---|---|---|---|']


def files(row):
    """How a row's files come into their folder, in Markdown."""
    steps = [row.source]
    for step in row.convert:
        of_mmseg = re.fullmatch(r'python \{mmseg\}/(\w+\.py) (.*)', step)
        steps.append(f"mmseg's `{of_mmseg[1]}` with `{of_mmseg[2]}`" if of_mmseg else f'`{step}`')
    return '; '.join(steps).replace('{root}', f'data/{row.folder}').replace('{data}', 'data').replace('*', r'\*')


def line(family, row):
    title = f'{row.title}, {row.domain}' if row.domain else row.title
    cells = [f'`{row.name}`', title, str(row.images or '?'), str(len(read_class_list(row.class_list))),
             row.licence or 'see its page', f'[page]({row.page})',
             '[Benchmarks](benchmarks.md#the-data)' if family == 'standard' else files(row)]
    return f'| {" | ".join(cells)} |'


def table(family):
    return '\n'.join([*HEAD, *(line(family, row) for row in FAMILIES[family])])


@pytest.mark.parametrize('family', [family for family, rows in FAMILIES.items() if rows])
def test_the_table_of_a_family_is_that_of_its_rows(family):
    assert table(family) in TEXT


def test_there_are_no_other_lines():
    names = re.findall(r'^\| `(\w+)` \|', TEXT, flags=re.MULTILINE)
    assert names == list(ROWS) and f'{len(ROWS)} data sets' in TEXT


def test_the_converter_is_one_of_ovseg():
    assert 'sets' in converters()
    for name in re.findall(r'`ovseg convert sets ([a-z]\w+) ', TEXT):
        assert ROWS[name].conversion


def test_example_row_of_the_page_is_a_row(tmp_path, monkeypatch):
    example, = PAGES['texts'](NAME, 'python')
    namespace = {}
    exec(example, namespace)
    row = namespace['row']
    assert row.dataset()['type'] == 'TableDataset' and row.class_list == 'meadows'


def written():
    """The page with the tables of the rows; a family that has no section yet gets one before that of the conversion."""
    text = re.sub(r'\d+ data sets\. Each', f'{len(ROWS)} data sets. Each', TEXT)
    for family, rows in FAMILIES.items():
        heading = dict(standard='Everyday scenes', MESS='MESS').get(family, 'Remote sensing')
        if rows and f'## {heading}\n' not in text:
            text = text.replace('## Conversion\n', f'## {heading}\n\n{HEAD[0]}\n\n## Conversion\n')
        text = re.sub(rf'(## {heading}\n(?:(?!## |\| name ).*\n)*)(?:\|.*\n)+',
                      lambda found, each=family: f'{found[1]}{table(each)}\n', text)
    return text


def test_writing_the_tables_anew_changes_nothing():
    assert written() == TEXT


if __name__ == '__main__':
    Path(NAME).write_text(written(), encoding='utf-8')
