"""Entries of ``ovseg list``. Every description is taken from where the thing itself is described."""
import inspect
import operator
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any, Callable, Dict, List

from mmengine.config import Config
from mmengine.registry import Registry

import ovseg.models  # noqa: F401  fills the registries
from ovseg.models.towers.backbones import Backbone, pretrained_backbones
from ovseg.registry import ATTENTIONS, DENSE_ENCODERS, GUIDES, POST_PROCESSORS, REFINERS, REGIONS, UPSAMPLERS
from ovseg.resources import configs_dir
from ovseg.vocabulary import bundled_class_lists, read_class_list

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


def registered_types(registry: Registry) -> Entries:
    """Types of a component."""
    return [dict(name=name, description=_summary(module)) for name, module in sorted(registry.module_dict.items())]


def class_lists() -> Entries:
    """Values of ``vocabulary.names``."""
    lists = {name: read_class_list(name) for name in bundled_class_lists()}
    return [dict(name=name, description=f'{len(classes)} classes, {sum(map(len, classes))} names: '
                                        f'{", ".join(synonyms[0] for synonyms in classes[:4])}, ...')
            for name, classes in lists.items()]


def config_backbones() -> Entries:
    """The CLIPs that the configs use, by their file in ``_base_/models``."""
    entries = []
    for path in sorted((configs_dir() / '_base_' / 'models').glob('*.py')):
        clip_model, pretrained = operator.itemgetter('name', 'pretrained')(Config.fromfile(path).model.clip)
        entries.append(dict(name=path.stem, description=f'{clip_model} {pretrained}: {_comment(path)}', path=str(path),
                            clip_model=clip_model, pretrained=pretrained))
    return entries


def open_clip_backbones() -> Entries:
    """Every CLIP of open_clip that ovseg supports, by the ``clip_model`` and ``pretrained`` that go together."""
    return [dict(name=f'{backbone.clip_model} {backbone.pretrained}', description=_sizes(backbone),
                 clip_model=backbone.clip_model, pretrained=backbone.pretrained) for backbone in pretrained_backbones()]


KINDS: Dict[str, Callable[[], Entries]] = {
    'configs': configs, 'methods': methods,
    **{kind: partial(registered_types, registry) for kind, registry in {
        'attentions': ATTENTIONS, 'post-processors': POST_PROCESSORS, 'dense-encoders': DENSE_ENCODERS, 'guides': GUIDES,
        'regions': REGIONS, 'upsamplers': UPSAMPLERS, 'refiners': REFINERS}.items()},
    'class-lists': class_lists, 'backbones': config_backbones}


def _summary(module: Any) -> str:
    """The first paragraph of a docstring."""
    return ' '.join(inspect.cleandoc(module.__doc__).split('\n\n')[0].split()).replace('``', '')


def _comment(config: Path) -> str:
    """The comment at a config's head, without the command that runs it."""
    head = takewhile(lambda line: line.startswith('#'), config.read_text(encoding='utf-8').splitlines())
    return ' '.join(line for line in (line.strip('# ') for line in head) if not line.startswith('python '))


def _idea(readme: Path) -> str:
    """The first paragraph under a README's heading that is no line of links."""
    _, *paragraphs = readme.read_text(encoding='utf-8').split('\n\n')
    return ' '.join(next(paragraph for paragraph in paragraphs if not paragraph.startswith('[')).split())


def _sizes(backbone: Backbone) -> str:
    vision, text = backbone.vision, backbone.config['text_cfg']
    elsewhere = text.get('hf_model_name') or text.get('hf_tokenizer_name')
    sizes = (f'patch {vision.patch_size}, {vision.image_size} px, {vision.layers} layers of width {vision.width}'
             if vision.timm_model_name is None else f'{vision.image_size} px, {vision.timm_model_name} of timm')
    return (sizes + (f'; its tokenizer needs transformers ({elsewhere})' if elsewhere else ''))
