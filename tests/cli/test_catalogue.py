import ast
import inspect
from pathlib import Path

import pytest
from mmengine.config import Config

import ovseg
import ovseg.resources
from ovseg.cli import catalogue
from ovseg.cli.catalogue import KINDS, open_clip_backbones
from ovseg.registry import ATTENTIONS, DENSE_ENCODERS, GUIDES, POST_PROCESSORS, REFINERS, REGIONS, UPSAMPLERS
from ovseg.resources import configs_dir
from ovseg.vocabulary import read_class_list


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A folder of configs that the tests fill."""
    monkeypatch.setattr(ovseg.resources, 'PACKAGE', tmp_path / 'ovseg')

    def write(files):
        for path, text in files.items():
            file = tmp_path / 'configs' / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding='utf-8')
        return tmp_path / 'configs'
    return write


def described(entries):
    return {entry['name']: entry['description'] for entry in entries}


@pytest.mark.parametrize('entries', [*KINDS.values(), open_clip_backbones], ids=[*KINDS, 'all backbones'])
def test_each_has_a_name_of_its_own_and_a_description_of_one_line(entries):
    found = entries()
    assert len({entry['name'] for entry in found}) == len(found) > 0
    for entry in found:
        assert entry['description'] and '\n' not in entry['description'] and '``' not in entry['description'], entry


def test_every_config_is_listed_and_loads_from_its_path():
    entries = catalogue.configs()
    root = configs_dir()
    assert {entry['name'] for entry in entries} == {path.relative_to(root).as_posix() for path in root.glob('[!_]*/**/*.py')}
    demo, = [entry for entry in entries if entry['name'] == 'demo/gated_tiny-clip_demo.py']
    assert Config.fromfile(demo['path'], import_custom_modules=False).model.clip.name == 'ovseg-tiny-clip'


def test_every_folder_of_a_method_is_listed():
    assert set(described(catalogue.methods())) == {
        path.parent.name for path in configs_dir().glob('*/metafile.yml') if path.parent.name != 'demo'}


def test_a_config_is_described_by_the_comment_at_its_head(tree):
    tree({'mine/a.py': '# What it is.\n# python tools/test.py configs/mine/a.py\nx = 1  # no\n# nor this\n',
          'mine/b.py': '# python tools/test.py b.py --tta\n# 12.3 mIoU published;\n# not measured here.\nx = 1\n',
          'mine/deeper/c.py': 'x = 1\n',
          '_base_/d.py': '# A part.\n'})
    assert described(catalogue.configs()) == {
        'mine/a.py': 'What it is.', 'mine/b.py': '12.3 mIoU published; not measured here.', 'mine/deeper/c.py': ''}


def test_a_method_is_described_by_the_first_paragraph_of_its_readme(tree):
    root = tree({'mine/README.md': '# Mine\n\nOne idea\nin two lines. [Formulas](../../docs/methods.md#mine).\n\nMore.\n',
                 'yours/README.md': '# Yours\n\n[Paper](x) · [code](y)\n\nAnother idea.\n\n    python tools/test.py\n',
                 'demo/a.py': ''})
    assert catalogue.methods() == [
        dict(name='mine', description='One idea in two lines. Formulas: docs/methods.md#mine.', path=str(root / 'mine')),
        dict(name='yours', description='Another idea.', path=str(root / 'yours'))]


def test_a_backbone_names_model_and_weights(tree):
    model = "model = dict(type='X', clip=dict(name='ViT-S', pretrained='mine'))"
    root = tree({'_base_/models/small.py': f'# A small one.\n{model}\n'})
    assert catalogue.config_backbones() == [dict(
        name='small', description='ViT-S mine: A small one.', path=str(root / '_base_' / 'models' / 'small.py'),
        clip_model='ViT-S', pretrained='mine')]


@pytest.mark.parametrize(('kind', 'name', 'file', 'definition'), [
    ('attentions', 'KK', 'attention/kk.py', 'kk'), ('post-processors', 'CTD', 'post_processors/ctd.py', 'CTD'),
    ('refiners', 'PAMR', 'refiners/pamr.py', 'PAMR')])
def test_modules_are_described_by_the_docstring_in_their_file(kind, name, file, definition):
    tree = ast.parse((Path(ovseg.__file__).parent / 'models' / file).read_text(encoding='utf-8'))
    docstring, = [ast.get_docstring(node) for node in tree.body if getattr(node, 'name', None) == definition]
    assert described(KINDS[kind]())[name] == docstring.splitlines()[0].replace('``', '')


def test_a_docstring_of_many_lines_gives_its_first_paragraph(tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue, 'PACKAGE', tmp_path)
    (tmp_path / 'models').mkdir()
    (tmp_path / 'models' / 'own.py').write_text(
        '@OTHERS.register_module()\nclass Other:\n    """No."""\n\n\n'
        "@POST_PROCESSORS.register_module(name=['Own', 'Mine'])\n"
        'class Own:\n    """Does ``this``\n    and that.\n\n    And more.\n    """\n')
    assert described(KINDS['post-processors']()) == {'Own': 'Does this and that.', 'Mine': 'Does this and that.'}


@pytest.mark.parametrize(('kind', 'registry'), [
    ('attentions', ATTENTIONS), ('post-processors', POST_PROCESSORS), ('dense-encoders', DENSE_ENCODERS), ('guides', GUIDES),
    ('regions', REGIONS), ('upsamplers', UPSAMPLERS), ('refiners', REFINERS)])
def test_types_are_described_as_python_describes_them(kind, registry):
    assert described(KINDS[kind]()) == {
        name: ' '.join(inspect.getdoc(type_).split('\n\n')[0].split()).replace('``', '')
        for name, type_ in registry.module_dict.items() if type_.__module__.startswith('ovseg.')}


def test_class_lists_are_described_as_they_are_read():
    for name, description in described(catalogue.class_lists()).items():
        classes = read_class_list(name)
        assert description == (f'{len(classes)} classes, {sum(map(len, classes))} names: '
                               f'{", ".join(synonyms[0] for synonyms in classes[:4])}, ...')


def test_backbones_are_those_that_mmengine_reads():
    for entry in catalogue.config_backbones():
        clip = Config.fromfile(entry['path']).model.clip
        assert (entry['clip_model'], entry['pretrained']) == (clip.name, clip.pretrained)


@pytest.mark.parametrize('kind', KINDS)
def test_the_path_of_each_exists(kind):
    assert all(Path(entry['path']).exists() for entry in KINDS[kind]())


def test_class_lists_say_how_many_classes_and_names():
    lists = described(catalogue.class_lists())
    assert lists['ade20k'] == '150 classes, 150 names: wall, building, sky, floor, ...'
    assert lists['voc21_sclip'].startswith('21 classes, 56 names: sky, aeroplane, bicycle, ')


@pytest.mark.parametrize(('name', 'description'), [
    ('ViT-L-14-336-quickgelu openai', 'patch 14, 336 px, 24 layers of width 1024'),
    ('ViT-B-32 laion2b_s34b_b79k', 'patch 32, 224 px, 12 layers of width 768'),
    ('xlm-roberta-base-ViT-B-32 laion5b_s13b_b90k',
     'patch 32, 224 px, 12 layers of width 768; its tokenizer needs transformers (xlm-roberta-base)'),
    ('PE-Core-L-14-336 meta', '336 px, vit_pe_core_large_patch14_336 of timm'),
    ('ViT-B-16-SigLIP webli',
     '224 px, vit_base_patch16_siglip_224 of timm; its tokenizer needs transformers (timm/ViT-B-16-SigLIP)')])
def test_backbones_of_open_clip_tell_their_sizes(name, description):
    assert described(open_clip_backbones())[name] == description
