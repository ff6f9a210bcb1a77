"""The citations in configs/*/README.md."""
import re
import runpy
from pathlib import Path

import pytest

PAGES, read, texts = map(runpy.run_path(str(Path(__file__).parent / 'pages.py')).get, ('PAGES', 'read', 'texts'))
ENTRIES = [(page, entry) for page in PAGES for entry in texts(page, 'bibtex')]


@pytest.mark.parametrize('page, entry', ENTRIES, ids=[page for page, _ in ENTRIES])
def test_bibtex_can_be_read_and_is_of_the_paper_that_is_linked(page, entry):
    kind, _, body = re.fullmatch(r'@(\w+)\{(\w+),\n(.*\n)\}\n', entry, flags=re.DOTALL).groups()
    lines = [re.fullmatch(r'  (\w+)=\{([^{}]+)\}(,?)', line) for line in body.splitlines()]
    assert [line[3] for line in lines] == [','] * (len(lines) - 1) + ['']
    fields = {line[1]: line[2] for line in lines}
    assert set(fields) == {'title', 'author', 'year', dict(inproceedings='booktitle', article='journal')[kind]}
    assert f'[{fields["title"]}](https://' in read(page)
