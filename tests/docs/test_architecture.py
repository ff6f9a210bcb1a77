"""The page on how ovseg is built."""
import re
from pathlib import Path

import ovseg
from ovseg.models.segmentors.switches import COMPONENTS

ROOT = Path(ovseg.__file__).parents[1]
TEXT = (ROOT / 'docs' / 'architecture.md').read_text(encoding='utf-8')


def test_every_component_has_a_row_and_every_place_is_there():
    rows = [line.split('|')[1:-1] for line in TEXT.splitlines() if line.startswith('| `')]
    assert {key for row in rows for key in re.findall('`([a-z_]+)`', row[0])} >= set(COMPONENTS)
    places = [place for row in rows for place in re.findall('`([^`]+)`', row[2])]
    assert len(places) >= len(rows) and all((ROOT / place).exists() for place in places)


def test_files_in_the_text_are_there():
    files = re.findall(r'`(ovseg/[\w/]+\.py)`', TEXT)
    assert len(files) >= 4 and all((ROOT / file).is_file() for file in files)
