"""The blocks of the page "Python API", run from top to bottom in an empty folder."""
import inspect
import re
import runpy
from pathlib import Path

import pytest

from ovseg.models import CLIPSegmentor
from ovseg.models.dense_features import DenseFeatures
from ovseg.models.towers.loading import LoadedCLIP

NAME = 'docs/api.md'
read, blocks, inline = map(runpy.run_path(str(Path(__file__).parent / 'pages.py')).get, ('read', 'blocks', 'inline'))
BLOCKS = blocks(NAME)
PAIRS = list(zip(*([block.text for block in BLOCKS[start::2]] for start in range(2))))


@pytest.fixture(scope='module')
def namespace():
    return {}


def test_every_block_has_its_output():
    assert [block.kind for block in BLOCKS] == ['python', 'text'] * 6


@pytest.mark.parametrize('code, output', PAIRS, ids=range(len(PAIRS)))
def test_blocks_print_what_the_page_says(code, output, namespace, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, 'api.md', 'exec'), namespace)
    printed = [line for line in capsys.readouterr().out.splitlines(keepends=True) if ' - mmengine - ' not in line]
    assert ''.join(printed) == output


def test_the_table_names_what_there_is():
    named = re.findall(r'^\| `segmentor\.(\w+)', read(NAME), flags=re.MULTILINE)
    model = CLIPSegmentor(dict(name='ovseg-tiny-clip', pretrained=None), dict(names=['thing', 'stuff']))
    assert len(named) > 5 and [name for name in named if not hasattr(model, name)] == []


def test_fields_are_those_of_the_code():
    code = set(inline(NAME))
    assert set(inspect.signature(DenseFeatures).parameters) <= code
    assert {name for name in inspect.signature(LoadedCLIP).parameters if not name.startswith('_')} <= code


def test_values_of_components_cannot_be_set():
    model = CLIPSegmentor(dict(name='ovseg-tiny-clip', pretrained=None), dict(names=['thing', 'stuff']))
    for component in ('vocabulary', 'windows', 'decoder'):
        first = next(iter(vars(getattr(model, component))))
        with pytest.raises(AttributeError):
            setattr(getattr(model, component), first, 3)
