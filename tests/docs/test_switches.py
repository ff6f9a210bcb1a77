"""The tables of the page "every switch" against what ``CLIPSegmentor`` takes, in both directions."""
import ast
import inspect
import re
import runpy
from pathlib import Path

import pytest

from ovseg.vocabulary.prompt_templates import PROMPT_TEMPLATES
from ovseg.inference.windows import PAD_MODES
from ovseg.models import CLIPSegmentor
from ovseg.models.dense.last_block_encoder import CLS_SOURCES, SIMILARITY_KEYS
from ovseg.models.post_processors import modules_from_switches
from ovseg.models.segmentors.clip_segmentor import PRECISIONS
from ovseg.registry import ATTENTIONS

PAGE = runpy.run_path(str(Path(__file__).parent / 'pages.py'))['read']('docs/switches.md')
ROWS = re.findall(r'^\| (`.+?) \| (.+) \| (.+?) \|$', PAGE, flags=re.MULTILINE)
NO_DEFAULT = '–'
OURS = {name: attention for name, attention in ATTENTIONS.module_dict.items() if attention.__module__.startswith('ovseg.')}


def value(cell):
    return inspect.Parameter.empty if cell == NO_DEFAULT else ast.literal_eval(cell.strip('`'))


def documented():
    """Default by key; a row may have several keys, with as many defaults."""
    pairs = []
    for keys, _, defaults in ROWS:
        keys = re.findall(r'`(\w+)`', keys)
        cells = defaults.split(', ') if len(keys) > 1 else [defaults]
        assert len(keys) == len(cells), keys
        pairs += zip(keys, map(value, cells))
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def described(key):
    """The words in code of what a row says."""
    text, = (text for keys, text, _ in ROWS if f'`{key}`' in keys)
    return re.findall(r'`([^`]+)`', text)


def test_keys_and_defaults_are_those_of_the_signatures():
    parameters = {**inspect.signature(CLIPSegmentor).parameters, **inspect.signature(modules_from_switches).parameters}
    del parameters['switches']
    assert documented() == {name: parameter.default for name, parameter in parameters.items()}


def test_attentions_are_those_of_the_registry():
    first, alias, *_ = described('model_type')
    assert sorted([*first.split(), alias]) == sorted(OURS)
    assert OURS[alias] is OURS[first.split()[-1]]


def test_keys_of_attentions_are_those_of_their_signatures():
    fixed = {'q', 'k', 'v', 'grid_size', 'bias'}
    assert set(described('attention_cfg')) == {key for attention in OURS.values()
                                               for key in inspect.signature(attention).parameters} - fixed


def test_keys_and_defaults_of_the_similarity_map_are_those_it_takes():
    defaults, layer = described('similarity_enhancement_cfg')
    taken = CLIPSegmentor('ovseg-tiny-clip', None, ['thing'], apply_similarity_enhancement=True).image_encoder.similarity
    assert {**eval(defaults), layer: 4 // 2} == taken
    assert set(taken) == set(SIMILARITY_KEYS)


@pytest.mark.parametrize('key, names', [('precision', PRECISIONS), ('pad_mode', PAD_MODES), ('cls_source', CLS_SOURCES),
                                        ('prompt_templates', PROMPT_TEMPLATES)])
def test_choices_are_those_of_the_code(key, names):
    assert {ast.literal_eval(name) for name in described(key) if name.startswith("'")} == set(names)


def test_the_refiner_of_the_table_is_built():
    refine, = described('refine')
    model = CLIPSegmentor('ovseg-tiny-clip', None, ['thing'], refine=eval(refine))
    assert type(model.refine).__name__ == eval(refine)['type']
