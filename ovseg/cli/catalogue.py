"""Entries of ``ovseg list``. Every description is taken from where the thing itself is described.

Files are read, and nothing of what they describe is imported, which would take seconds.
"""
import ast
import re
import runpy
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List

from ovseg.resources import PACKAGE, configs_dir
from ovseg.sets import FAMILIES, Row

if TYPE_CHECKING:
    from ovseg.models.towers.backbones import Backbone

Entries = List[Dict[str, str]]


def configs() -> Entries:
    """Configs to run, by their path in the folder of configs."""
    root = configs_dir()
    return [dict(name=path.relative_to(root).as_posix(), description=_comment(path), path=str(path))
            for path in sorted(root.rglob('*.py')) if '_base_' not in path.relative_to(root).parts]


def methods() -> Entries:
    """Methods, by their folder of configs."""
    return [dict(name=readme.parent.name, description=_idea(readme), path=str(readme.parent))
            for readme in sorted(configs_dir().glob('*/README.md'))]


def registered_types(registry: str) -> Entries:
    """Types of a component, by the variable in ``ovseg.registry`` that they are registered in."""
    entries = []
    for path in (PACKAGE / 'models').rglob('*.py'):
        text = path.read_text(encoding='utf-8')
        if f'@{registry}.register_module(' in text:
            for definition in ast.parse(text).body:
                entries += [dict(name=name, description=_summary(definition), path=str(path))
                            for name in _registered_names(definition, registry)]
    return sorted(entries, key=lambda entry: entry['name'])


def class_lists() -> Entries:
    """Values of ``vocabulary.names``."""
    entries = []
    for path in sorted((PACKAGE / 'vocabulary' / 'resources').glob('*.txt')):
        classes = [re.split('[,;] *', line) for line in path.read_text(encoding='utf-8').splitlines()]
        entries.append(dict(name=path.stem, path=str(path),
                            description=f'{len(classes)} classes, {sum(map(len, classes))} names: '
                                        f'{", ".join(synonyms[0] for synonyms in classes[:4])}, ...'))
    return entries


def data_sets() -> Entries:
    """Data sets, by their base config, with their licence and their state on this machine."""
    folder = configs_dir() / '_base_' / 'datasets'
    counts = {entry['name']: entry['description'].split(',')[0] for entry in class_lists()}
    return [dict(name=row.name, description=_row(row, family, counts[row.class_list]), path=str(folder / f'{row.name}.py'))
            for family, rows in FAMILIES.items() for row in rows]


def config_backbones() -> Entries:
    """The CLIPs that the configs use, by their file in ``_base_/models``."""
    entries = []
    for path in sorted((configs_dir() / '_base_' / 'models').glob('*.py')):
        clip = _clip(path)
        clip_model, pretrained = clip['name'], clip['pretrained']
        entries.append(dict(name=path.stem, description=f'{clip_model} {pretrained}: {_comment(path)}', path=str(path),
                            clip_model=clip_model, pretrained=pretrained))
    return entries


def open_clip_backbones() -> Entries:
    """Every CLIP of open_clip that ovseg supports, by the ``clip_model`` and ``pretrained`` that go together."""
    from ovseg.models.towers.backbones import pretrained_backbones
    return [dict(name=f'{backbone.clip_model} {backbone.pretrained}', description=_sizes(backbone),
                 clip_model=backbone.clip_model, pretrained=backbone.pretrained) for backbone in pretrained_backbones()]


KINDS: Dict[str, Callable[[], Entries]] = {
    'configs': configs, 'methods': methods,
    **{kind: partial(registered_types, registry) for kind, registry in {
        'attentions': 'ATTENTIONS', 'post-processors': 'POST_PROCESSORS', 'dense-encoders': 'DENSE_ENCODERS',
        'guides': 'GUIDES', 'regions': 'REGIONS', 'upsamplers': 'UPSAMPLERS', 'refiners': 'REFINERS'}.items()},
    'class-lists': class_lists, 'data-sets': data_sets, 'backbones': config_backbones}


def _row(row: Row, family: str, classes: str) -> str:
    missing = row.missing
    state = (f'in {row.root}' if not missing else f'not on this machine ({row.root})' if not row.root.exists()
             else f'incomplete: there is no {missing[0]}')
    return (f'{row.title}, {family}: {f"{row.images} images, " if row.images else ""}{classes}; licence: '
            f'{row.licence or "see " + row.page}; {state}')


def _registered_names(definition: Any, registry: str) -> Iterator[str]:
    """Names under which decorators of a class or function register it in a registry."""
    for decorator in getattr(definition, 'decorator_list', ()):
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == f'{registry}.register_module':
            given = {keyword.arg: ast.literal_eval(keyword.value) for keyword in decorator.keywords}
            names = given.get('name', definition.name)
            yield from [names] if isinstance(names, str) else names


def _summary(definition: Any) -> str:
    """The first paragraph of the docstring of a class or function."""
    return ' '.join(str(ast.get_docstring(definition)).split('\n\n')[0].split()).replace('``', '')


def _clip(config: Path) -> Dict[str, str]:
    """``model.clip`` of a config of a backbone, whose base config may have it in part."""
    settings = runpy.run_path(str(config))
    bases = [_clip(config.parent / base) for base in settings.get('_base_', ())]
    return {key: value for clip in [*bases, settings['model'].get('clip', {})] for key, value in clip.items()}


def _comment(config: Path) -> str:
    """The comment at a config's head, without the command that runs it."""
    head = takewhile(lambda line: line.startswith('#'), config.read_text(encoding='utf-8').splitlines())
    return ' '.join(line for line in (line.strip('# ') for line in head) if not line.startswith('python '))


def _idea(readme: Path) -> str:
    """The first paragraph under a README's heading that is no line of links; its links as plain text."""
    _, *paragraphs = readme.read_text(encoding='utf-8').split('\n\n')
    text = ' '.join(next(paragraph for paragraph in paragraphs if not paragraph.startswith('[')).split())
    return re.sub(r'\[(.*?)\]\((?:\.\./)*(.*?)\)', r'\1: \2', text)


def _sizes(backbone: 'Backbone') -> str:
    vision, text = backbone.vision, backbone.config['text_cfg']
    elsewhere = text.get('hf_model_name') or text.get('hf_tokenizer_name')
    sizes = (f'patch {vision.patch_size}, {vision.image_size} px, {vision.layers} layers of width {vision.width}'
             if vision.timm_model_name is None else f'{vision.image_size} px, {vision.timm_model_name} of timm')
    return (sizes + (f'; its tokenizer needs transformers ({elsewhere})' if elsewhere else ''))
