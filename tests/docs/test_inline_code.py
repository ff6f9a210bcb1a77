"""Code within the prose of all pages: commands are read by their programs, settings by the config reader and the model."""
import ast
import inspect
import re
import runpy
from dataclasses import fields
from operator import itemgetter
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS

import ovseg
from ovseg.config import merge_options, read_config
from ovseg.inference.windows import Windows
from ovseg.models import CLIPSegmentor
from ovseg.models.decoder import Decoder
from ovseg.models.dense import LastBlockEncoder
from ovseg.models.dense.last_block_encoder import SIMILARITY_KEYS
from ovseg.models.segmentors.switches import COMPONENTS, FLAT
from ovseg.models.towers.tiny_clip import WEIGHTS_FILE
from ovseg.registry import ATTENTIONS, DENSE_ENCODERS, GUIDES, POST_PROCESSORS, REFINERS, REGIONS, UPSAMPLERS
from ovseg.vocabulary import Vocabulary
from tests.method_goldens import golden_clip

ROOT = Path(ovseg.__file__).parents[1]
PAGES, read, inline = map(runpy.run_path(str(Path(__file__).parent / 'pages.py')).get, ('PAGES', 'read', 'inline'))
CODE = {code: page for page in PAGES for code in inline(page)}
COMMANDS = [code for code in CODE if re.match(r'(make|pip|ovseg|python) |tools/\S+ ', code)
            and not re.fullmatch(r'ovseg (test|predict|ablate|eval|export|regions|visualize|check-data)', code)]  # mere names
OPTIONS = [code for code in CODE if re.match(r'--cfg-options |"?(model|test_dataloader)\.\S+=', code)]
SETTINGS = [code for code in CODE if re.match(r'[a-z]\w*=', code)]
PLACES = [code for code in CODE if re.match(rf'({"|".join(COMPONENTS)})\.[\w.]+=', code)]
CLASSES = dict(image_encoder=LastBlockEncoder, windows=Windows, decoder=Decoder, vocabulary=Vocabulary)
ELSEWHERE = {  # what looks like one of these and has a test of its own, or is something else
    'model.outlier_suppression_cfg.top_k=5,10,30': 'values of a grid: test_ablate.py',
    '--cfg-options model.post_processors.0.eps=0.8': 'on top of another config: test_modules.py',
    '--cfg-options model.image_encoder.guide.model=vit_base_patch14_reg4_dinov2.lvd142m': 'test_config_readmes.py',
    '--cfg-options model.image_encoder.regions.root=FOLDER': 'test_config_readmes.py',
    'model.image_encoder.regions.type=SuperpixelRegions': 'test_config_readmes.py',
    '--cfg-options model.upsampler.pretrained=FILE': "a file of SegEarth-OV's: tests/models/upsamplers",
    'model.post_processors.1.top_k=10': 'on top of another config: test_settings.py',
    'model.post_processors=[GlobalDebias,Sharpen]': 'test_add_a_post_processor.py',
    '"model.vocabulary.names=[potted plant,cat]"': 'refused: test_faq.py',
    "clip.name='ViT-B-16'": 'test_faq.py',
    "custom_imports=dict(imports=['ovseg'])": 'of a config',
    "regions=dict(type='NpzRegions', root='FOLDER')": 'of an encoder: tests/models/regions',
    "default_scope='mmseg'": 'of a config',
    "type='NACLIP'": 'of a registry',
    'reduce_zero_label=True': 'of a data set',
    "data_prefix=dict(img_path='photos', seg_map_path='masks')": 'of a data set',
    "img_suffix='.png'": 'of a data set',
    "seg_map_suffix='_mask.png'": 'of a data set',
    "test_cfg=dict(type='CheckedTestLoop')": 'of a config',
    'classes=None': 'of a call'}
FIELDS = {f'{field.name}={value!r}' for registry in (GUIDES, REGIONS) for type_ in registry.module_dict.values()
          for field in fields(type_) for value in (field.default, {})}  # of guides and regions: test_settings.py
PLACEHOLDERS = {'/path/to/file': str(WEIGHTS_FILE), 'FOLDER': 'data', '=FILE': '=None',
                'guide=...': "guide='CLIPGuide'", 'regions=...': "regions='SuperpixelRegions'",
                '(τ_r, λ_r)': '(2.0, 0.3)', '(τ_s, λ_s)': '(2.1, 0.7)'}
TYPES = {POST_PROCESSORS: lambda cfg: dict(post_processors=[cfg]),
         ATTENTIONS: lambda cfg: dict(image_encoder=dict(attention=cfg)),
         DENSE_ENCODERS: lambda cfg: dict(image_encoder=cfg), UPSAMPLERS: lambda cfg: dict(upsampler=cfg),
         REFINERS: lambda cfg: dict(decoder=dict(refiner=cfg))}
REQUIRED = dict(guide='CLIPGuide', regions='SuperpixelRegions')  # beside the setting that is tried
FLAG = r'(?<![\w-])--[a-z][\w-]*'
OTHERS_FLAGS = {'--no-deps', '--nproc', '--dataset_dir', '--help',  # of pip, mmseg's converters, every program
                '--head', '--port', '--nproc_per_node',  # of ray start, of torchrun
                '--fail', '--location', '--output', '--check', '--extract', '--file', '--directory'}  # of curl, md5sum, tar


def left(codes):
    return [code for code in codes if code not in ELSEWHERE and code not in FIELDS]


def fill(code):
    for placeholder, thing in PLACEHOLDERS.items():
        code = code.replace(placeholder, thing)
    return code


def keywords(function):
    return set(inspect.signature(function).parameters)


def required(type_):
    """Arguments of a type that have no default."""
    parameters = inspect.signature(type_).parameters
    return {name: value for name, value in REQUIRED.items()
            if name in parameters and parameters[name].default is inspect.Parameter.empty}


def build(**components):
    return CLIPSegmentor(**{**dict(clip=dict(name='ovseg-tiny-clip', pretrained=None),
                                   vocabulary=dict(names=['thing', 'stuff'])), **components})


def test_exceptions_stand_on_a_page():
    assert [code for code in ELSEWHERE if code not in CODE] == []


@pytest.mark.parametrize('command', COMMANDS)
def test_commands_are_read_by_their_programs(command, shell):
    shell.parse(command)


@pytest.mark.parametrize('code', left(OPTIONS))
def test_options_are_read_and_a_model_is_built(code, shell):
    (shell.folder / 'class_names.txt').write_text('potted plant\ncat\n')
    options = fill(code).replace('--cfg-options ', '')
    args = shell.parse(f'python tools/test.py CONFIG --cfg-options model.clip.pretrained=None {options}')
    with DefaultScope.overwrite_default_scope('mmseg'):
        MODELS.build(read_config(args.config, args.cfg_options).model)


@pytest.mark.parametrize('code', left(PLACES))
def test_values_are_taken_at_their_places(code):
    place, value = fill(code).split('=', 1)
    cfg = Config(dict(model=dict(type='CLIPSegmentor', clip=dict(name='ovseg-tiny-clip', pretrained=None),
                                 vocabulary=dict(names=['thing', 'stuff']))))
    given = value if value == str(WEIGHTS_FILE) else ast.literal_eval(value)
    merge_options(cfg, {f'model.{place}': given}, 'config')
    with DefaultScope.overwrite_default_scope('mmseg'):
        MODELS.build(cfg.model)


@pytest.mark.parametrize('code', left(SETTINGS))
def test_settings_are_taken(code):
    """By the model, in either form, by a component or its similarity map, or by every type of the first kind with that key."""
    given = eval(f'dict({fill(code)})')
    if 'type' in given.get('image_encoder', {}):
        DENSE_ENCODERS.build(given['image_encoder'])  # without a model, whose guide would need weights
        return
    if set(given) <= {*COMPONENTS, *FLAT}:
        build(**given)
        return
    component = next((key for key, class_ in CLASSES.items() if set(given) <= keywords(class_)), None)
    if component:
        build(**{component: {**(dict(names=['thing']) if component == 'vocabulary' else {}), **given}})
        return
    if set(given) <= set(SIMILARITY_KEYS):
        build(image_encoder=dict(similarity=given))
        return
    kinds = [(place, {name: type_ for name, type_ in registry.module_dict.items()
                      if type_.__module__.startswith('ovseg.') and set(given) <= keywords(type_)})
             for registry, place in TYPES.items()]
    place, types = next(filter(itemgetter(1), kinds), (None, {}))
    assert types, f'{code} on {CODE[code]} is a key of nothing'
    for name, type_ in types.items():
        beside = {key: value for key, value in REQUIRED.items() if key in keywords(type_)}
        build(clip=golden_clip(), **place(dict(type=name, **beside, **given)))


def test_every_flag_belongs_to_a_program():
    programs = [*ROOT.glob('tools/**/*.py'), *ROOT.glob('ovseg/cli/*.py'), ROOT / 'ovseg' / 'cfg_options.py']
    known = {flag for path in programs for flag in re.findall(rf"add_argument\((?:'[\w-]+', )?'({FLAG})'", path.read_text())}
    combinations = {f'--{name}' for name in ('one-at-a-time', 'cumulative', 'full')}
    assert {flag for page in PAGES for flag in re.findall(FLAG, read(page))} <= known | combinations | OTHERS_FLAGS
