"""Code within the prose of all pages: commands are read by their programs, settings by the config reader and the model."""
import inspect
import re
import runpy
from pathlib import Path

import pytest
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS

import ovseg
from ovseg.config import read_config
from ovseg.models import CLIPSegmentor
from ovseg.models.dense.last_block_encoder import SIMILARITY_KEYS
from ovseg.models.towers.tiny_clip import WEIGHTS_FILE
from ovseg.models.post_processors import modules_from_switches
from ovseg.registry import POST_PROCESSORS

ROOT = Path(ovseg.__file__).parents[1]
PAGES, read, inline = map(runpy.run_path(str(Path(__file__).parent / 'pages.py')).get, ('PAGES', 'read', 'inline'))
CODE = {code: page for page in PAGES for code in inline(page)}
COMMANDS = [code for code in CODE if re.match(r'(make|pip|ovseg|python) |tools/\S+ ', code)]
OPTIONS = [code for code in CODE if re.match(r'--cfg-options |"?(model|test_dataloader)\.\S+=', code)]
SWITCHES = [code for code in CODE if re.match(r'[a-z]\w*=', code)]
ELSEWHERE = {  # what looks like one of these and has a test of its own, or is something else
    'model.outlier_suppression_cfg.top_k=5,10,30': 'values of a grid: test_ablate.py',
    '--cfg-options model.post_processors.0.eps=0.8': 'on top of another config: test_modules.py',
    '"model.name_path=[potted plant,cat]"': 'refused: test_faq.py',
    "clip_model='ViT-B-16'": 'test_faq.py',
    "custom_imports=dict(imports=['ovseg'])": 'of a config',
    "default_scope='mmseg'": 'of a config',
    "type='NACLIP'": 'of a registry',
    'reduce_zero_label=True': 'of a data set',
    'classes=None': 'of a call'}
PLACEHOLDERS = {'/path/to/file': str(WEIGHTS_FILE), 'FOLDER': 'data', 'scale=...': 'scale=0.5'}
FLAG = r'(?<![\w-])--[a-z][\w-]*'
OTHERS_FLAGS = {'--no-deps', '--nproc', '--help'}  # of pip, of mmseg's converters, of every program


def left(codes):
    return [code for code in codes if code not in ELSEWHERE]


def fill(code):
    for placeholder, thing in PLACEHOLDERS.items():
        code = code.replace(placeholder, thing)
    return code


def model_keys():
    return {*inspect.signature(CLIPSegmentor).parameters, *inspect.signature(modules_from_switches).parameters} - {'switches'}


def test_exceptions_stand_on_a_page():
    assert [code for code in ELSEWHERE if code not in CODE] == []


@pytest.mark.parametrize('command', COMMANDS)
def test_commands_are_read_by_their_programs(command, shell):
    shell.parse(command)


@pytest.mark.parametrize('code', left(OPTIONS))
def test_options_are_read_and_a_model_is_built(code, shell):
    (shell.folder / 'words.txt').write_text('potted plant\ncat\n')
    options = fill(code).replace('--cfg-options ', '')
    args = shell.parse(f'python tools/test.py CONFIG --cfg-options model.pretrained=None {options}')
    with DefaultScope.overwrite_default_scope('mmseg'):
        MODELS.build(read_config(args.config, args.cfg_options).model)


@pytest.mark.parametrize('code', left(SWITCHES))
def test_switches_are_taken(code):
    """By the model, by its similarity map, or by every module that has such a keyword."""
    code = fill(code)
    given = {'pretrained': str(WEIGHTS_FILE)} if code == f'pretrained={WEIGHTS_FILE}' else eval(f'dict({code})')
    if set(given) <= model_keys():
        CLIPSegmentor(**{**dict(clip_model='ovseg-tiny-clip', pretrained=None, name_path=['thing', 'stuff']), **given})
    elif set(given) <= set(SIMILARITY_KEYS):
        CLIPSegmentor('ovseg-tiny-clip', None, ['thing'], apply_similarity_enhancement=True, similarity_enhancement_cfg=given)
    else:
        modules = [module for module in POST_PROCESSORS.module_dict.values() if module.__module__.startswith('ovseg.')
                   and set(given) <= set(inspect.signature(module).parameters)]
        assert modules, f'{code} on {CODE[code]} is a key of nothing'
        for module in modules:
            module(**given)


def test_every_flag_belongs_to_a_program():
    programs = [*ROOT.glob('tools/**/*.py'), *ROOT.glob('ovseg/cli/*.py')]
    known = {flag for path in programs for flag in re.findall(rf"add_argument\((?:'[\w-]+', )?'({FLAG})'", path.read_text())}
    combinations = {f'--{name}' for name in ('one-at-a-time', 'cumulative', 'full')}
    assert {flag for page in PAGES for flag in re.findall(FLAG, read(page))} <= known | combinations | OTHERS_FLAGS
