"""The tables and examples of the page "settings" against the code, in both directions; its commands: test_every_page.py."""
import ast
import inspect
import re
import runpy
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, Mapping, Sequence, Union, get_args, get_origin, get_type_hints

import open_clip
import pytest
import torch
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS

from ovseg.config import read_config
from ovseg.inference.windows import PAD_MODES, Windows
from ovseg.models import CLIPSegmentor
from ovseg.models.decoder import Decoder
from ovseg.models.dense import PRECISIONS, LastBlockEncoder
from ovseg.models.dense.last_block_encoder import CLS_SOURCES, SIMILARITY_KEYS
from ovseg.models.segmentors.switches import CHAIN, FLAT, KEYWORDS, NESTED_ONLY, PLACES, SIMILARITY, nested_model
from ovseg.models.towers import loading
from ovseg.models.towers.loading import load_clip
from ovseg.models.towers.transformers_format import check_settings, flat_settings
from ovseg.registry import ATTENTIONS, DENSE_ENCODERS, GUIDES, POST_PROCESSORS, REGIONS, UPSAMPLERS
from ovseg.vocabulary import Vocabulary
from ovseg.vocabulary.background import Background
from ovseg.vocabulary.prompt_templates import PROMPT_TEMPLATES

NAME = 'docs/settings.md'
read, texts, commands = map(runpy.run_path(str(Path(__file__).parent / 'pages.py')).get, ('read', 'texts', 'commands'))
PAGE = read(NAME)
MODEL, CLIPS, OVERRIDE = texts(NAME, 'python')
ENCODERS = {name: type_ for name, type_ in DENSE_ENCODERS.module_dict.items() if type_.__module__.startswith('ovseg.')}
COMPONENTS = dict(clip=load_clip, vocabulary=Vocabulary, image_encoder=ENCODERS.pop('LastBlockEncoder'), windows=Windows,
                  decoder=Decoder, **ENCODERS)
TYPES = {str: 'string', Path: 'string', int: 'integer', float: 'number', bool: 'bool', type(None): 'None',
         Sequence[str]: 'list', Sequence[int]: 'list', Sequence[float]: 'list', Mapping[str, Any]: 'dict',
         Background: 'dict'}
TINY = dict(clip=dict(name='ovseg-tiny-clip', pretrained=None), vocabulary=dict(names=['thing', 'stuff']))


def cells(rows):
    return [[cell.strip() for cell in row.strip('|').split('|')] for row in rows]


def table(*head):
    """The rows of the table with these heads."""
    lines = PAGE.split(f'| {" | ".join(head)} |\n', 1)[1].splitlines()[1:]
    rows = lines[:next((index for index, line in enumerate(lines) if not line.startswith('|')), None)]
    return cells(rows)


def section(name):
    """The rows of the first table under a heading."""
    body = re.search(rf'^## {name}\n(.*?)(?=^## |\Z)', PAGE, flags=re.MULTILINE | re.DOTALL)[1]
    rows = re.search(r'^\| (?:key|type) \|.*\n\|[-|]+\n((?:\|.*\n)+)', body, flags=re.MULTILINE)[1]
    return cells(rows.splitlines())


def code(cell):
    return re.findall(r'`([^`]+)`', cell)


def default(cell):
    return inspect.Parameter.empty if cell == '–' else ast.literal_eval(code(cell)[0])


@pytest.mark.parametrize('component', COMPONENTS)
def test_keys_types_and_defaults_of_components_are_those_of_the_code(component):
    rows = section(component)
    parameters = inspect.signature(COMPONENTS[component]).parameters
    assert {code(key)[0]: default(cell) for key, _, cell, _ in rows} == {
        name: parameter.default for name, parameter in parameters.items()}
    hints = get_type_hints(COMPONENTS[component] if inspect.isfunction(COMPONENTS[component]) else
                           COMPONENTS[component].__init__)
    for key, type_, _, _ in rows:
        hint = hints[code(key)[0]]
        if Any not in (hint, *get_args(hint)):  # Python 3.9 adds None to Any
            assert set(type_.split(' or ')) == {TYPES[part] for part in
                                                (get_args(hint) if get_origin(hint) is Union else [hint])}, key


def test_keys_of_the_model_are_those_of_the_signature():
    assert [name for key, *_ in section('CLIPSegmentor') for name in code(key)] == [
        name for name in inspect.signature(CLIPSegmentor).parameters if name != 'switches']


@pytest.mark.parametrize('heading, registry, fixed', [
    ('image_encoder', ATTENTIONS, {'q', 'k', 'v', 'grid_size', 'bias'}), ('post_processors', POST_PROCESSORS, set()),
    ('upsampler', UPSAMPLERS, set())])
def test_types_and_their_keywords_are_those_of_the_registry(heading, registry, fixed):
    rows = table('type', 'keywords', 'weights') if heading == 'image_encoder' else section(heading)
    given = {name: {key: ast.literal_eval(value) if equals else inspect.Parameter.empty
                    for key, equals, value in (text.partition('=') for text in code(keywords))}
             for names, keywords, _ in rows for name in code(names)}
    assert given == {name: {key: parameter.default for key, parameter in inspect.signature(type_).parameters.items()
                            if key not in fixed}
                     for name, type_ in registry.module_dict.items() if type_.__module__.startswith('ovseg.')}


@pytest.mark.parametrize(('heading', 'registry'), [('guide', GUIDES), ('regions', REGIONS)])
def test_fields_of_guides_and_regions_are_those_of_the_registry(heading, registry):
    given = {code(type_)[0]: [text.partition('=')[::2] for text in code(keywords)] for type_, keywords, _ in section(heading)}
    assert {name: {key: ast.literal_eval(value) if value else MISSING for key, value in keywords}
            for name, keywords in given.items()} == {
        name: {each.name: each.default if each.default_factory is MISSING else each.default_factory()
               for each in fields(type_) if each.init}
        for name, type_ in registry.module_dict.items() if type_.__module__.startswith('ovseg.')}


def test_names_of_one_attention_stand_in_one_row():
    for names, *_ in table('type', 'keywords', 'weights'):
        assert len({ATTENTIONS.get(name) for name in code(names)}) == 1


def test_keys_and_defaults_of_the_similarity_map_are_those_it_takes():
    rows = table('key of `similarity`', 'type', 'default', 'meaning')
    assert [code(key)[0] for key, *_ in rows] == list(SIMILARITY_KEYS)
    shown = {code(key)[0]: default(cell) for key, _, cell, _ in rows if code(cell)}
    assert shown == LastBlockEncoder(similarity=dict()).similarity
    assert 'half the depth' in {cell for key, _, cell, _ in rows if code(key) == ['layer']}


@pytest.mark.parametrize('component, key, names', [
    ('image_encoder', 'precision', PRECISIONS), ('image_encoder', 'cls_source', CLS_SOURCES),
    ('windows', 'pad_mode', PAD_MODES), ('vocabulary', 'templates', PROMPT_TEMPLATES)])
def test_choices_are_those_of_the_code(component, key, names):
    text, = (row[3] for row in section(component) if code(row[0]) == [key])
    assert {ast.literal_eval(name) for name in code(text) if name.startswith("'")} == set(names)


def test_the_refiner_of_the_table_is_built():
    text, = (row[3] for row in section('decoder') if code(row[0]) == ['refiner'])
    refiner = eval(code(text)[0])
    assert type(Decoder(refiner=refiner).refiner).__name__ == refiner['type']


def test_the_model_is_built():
    namespace = {}
    exec(MODEL, namespace)
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build({**namespace['model'], **TINY})
    assert [type(module).__name__ for module in model.post_processors.modules] == [module.type for module in CHAIN]
    assert (type(model.decoder.refiner).__name__, model.decoder.prob_thd) == ('PAMR', 0.1)
    assert model.image_encoder.similarity['similarity_weight'] == 1.0


def test_a_clip_of_transformers_is_loaded_from_the_hub_and_from_a_folder(monkeypatch):
    folder = Path(__file__).parents[1] / 'data' / 'transformers_clip'
    hub, local = (eval(line.split(' = ', 1)[1]) for line in CLIPS.splitlines())
    vit_b16 = dict(model_type='clip', vision_config=dict(patch_size=16))  # the other settings of openai's are the defaults
    check_settings(flat_settings(vit_b16), hub['name'], open_clip.get_model_config(hub['name']))

    tiny = dict(runpy.run_path(str(folder / 'make.py'), run_name='make')['OPEN_CLIP'], quick_gelu=True)
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, hub['name'], tiny)
    monkeypatch.setattr(loading, 'WEIGHTS_FILES', ['model.safetensors'])
    monkeypatch.setattr(loading, 'snapshot_download', lambda repository, allow_patterns: str(folder))
    monkeypatch.setattr(loading, 'hf_hub_download', lambda repository, file: str(folder / file))
    assert hub['pretrained'] == 'hf-hub:openai/clip-vit-base-patch16' and Path(local['pretrained']).name in hub['pretrained']
    towers = [load_clip(**clip).image_tower for clip in (hub, dict(local, pretrained=str(folder)))]
    assert torch.equal(*(tower.visual.proj for tower in towers))


def test_flat_names_have_the_places_of_the_code():
    chain = {name: ('post_processors', module.type) for module in CHAIN for name in (module.switch, module.keywords) if name}
    expected = {**{name: (place,) for name, place in {**PLACES, **KEYWORDS}.items()}, SIMILARITY: ('image_encoder.similarity',),
                **chain}
    assert set(expected) == set(FLAT)
    rows = {code(name)[0]: tuple(code(place)) for name, place in table('flat name', 'nested place')}
    assert rows.pop('global_debias_factor') == (*expected.pop('global_debias_factor'), 'factor')
    assert rows == expected


def test_former_names_are_errors_that_name_the_place_of_the_table():
    rows = {code(name)[0]: code(place)[0] for name, place in table('former name', 'nested place')}
    assert rows == NESTED_ONLY
    for name, place in rows.items():
        with pytest.raises(ValueError, match=re.escape(f'no key {name!r}: it is {place}')):
            CLIPSegmentor(**TINY, **{name: None})


def test_switches_of_the_chain_keep_the_order_of_the_table():
    switches = {module.switch: 0.2 if module.keywords is None else True for module in reversed(CHAIN)}
    model = nested_model({}, switches)
    types = {module.type for module in CHAIN}
    assert [item['type'] for item in model['post_processors']] == [
        name for row in section('post_processors') for name in code(row[0]) if name in types]


def test_both_forms_are_an_error_that_names_them():
    with pytest.raises(ValueError, match=r'logit_scale=50 and decoder\.logit_scale=40 are two forms'):
        CLIPSegmentor(**TINY, decoder=dict(logit_scale=40), logit_scale=50)


def chain(*types):
    return [dict(type=type_) for type_ in types]


@pytest.mark.parametrize('base, option, place, found', [
    ({}, 'model.logit_scale=50', 'decoder', dict(logit_scale=50)),
    ({'post_processors': chain('GlobalDebias')}, 'model.apply_ctd=True', 'post_processors', chain('GlobalDebias', 'CTD')),
    ({'post_processors': chain('OutlierSuppression', 'CTD')}, 'model.outlier_suppression_cfg.top_k=10', 'post_processors',
     [dict(type='OutlierSuppression', top_k=10), dict(type='CTD')]),
    ({'image_encoder': dict(attention=dict(type='NACLIP', gaussian_std=3.0))}, 'model.model_type=SCLIP', 'image_encoder',
     dict(attention=dict(type='SCLIP'))),
    ({'image_encoder': dict(attention=dict(type='NACLIP', gaussian_std=3.0))}, 'model.image_encoder.attention.type=SCLIP',
     'image_encoder', dict(attention=dict(type='SCLIP'))),
    ({'decoder': dict(prob_thd=0.1)}, 'model.decoder.refiner.type=PAMR', 'decoder',
     dict(prob_thd=0.1, refiner=dict(type='PAMR'))),
    ({'post_processors': chain('CTD', 'OutlierSuppression')}, 'model.post_processors.1.top_k=10', 'post_processors',
     [dict(type='CTD'), dict(type='OutlierSuppression', top_k=10)]),
    ({'post_processors': chain('OutlierSuppression', 'CTD')}, 'model.post_processors=[GlobalDebias,CTD]', 'post_processors',
     ['GlobalDebias', 'CTD'])])
def test_options_do_what_the_table_says(base, option, place, found, shell, tmp_path):
    assert [option] in [code(cell) for cell, _ in table('option', 'effect')]
    config = tmp_path / 'config.py'
    config.write_text(f"custom_imports = dict(imports=['ovseg'])\nmodel = {dict(type='CLIPSegmentor', **TINY, **base)!r}\n")
    options = shell.parse(f'python tools/test.py {config} --cfg-options {option}').cfg_options
    assert read_config(config, options).model[place] == found


def test_every_option_of_the_table_has_its_case():
    test, = test_options_do_what_the_table_says.pytestmark
    assert {case[1] for case in test.args[1]} == {code(cell)[0] for cell, _ in table('option', 'effect')}


def test_the_command_sets_both_forms(shell):
    command, = commands(NAME)
    args = shell.parse(command)
    model = read_config(args.config, args.cfg_options).model
    assert (model.decoder.prob_thd, model.windows.stride) == (0.1, 224)


def test_delete_replaces_a_component_in_a_file_and_its_lack_is_an_error(checkout):
    (checkout / 'my_config.py').write_text(OVERRIDE)
    assert read_config('my_config.py', {}).model.image_encoder.attention == dict(type='SCLIP')
    (checkout / 'my_config.py').write_text(OVERRIDE.replace('_delete_=True, ', ''))
    cfg = read_config('my_config.py', {'model.clip.name': 'ovseg-tiny-clip', 'model.clip.pretrained': None})
    with DefaultScope.overwrite_default_scope('mmseg'), pytest.raises(ValueError, match=r"'gaussian_std'.*_delete_=True"):
        MODELS.build(cfg.model)
