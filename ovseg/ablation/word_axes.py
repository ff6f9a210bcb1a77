"""The axes of an ablation that change words: vocabularies and prompt templates."""
import copy
import hashlib
from pathlib import Path
from typing import Any, Dict, List, Sequence, cast

from mmengine.config import Config
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from ovseg.ablation.axes import Axes, Axis, Step
from ovseg.components import build_component
from ovseg.datasets.table_dataset import TableDataset, row_metainfo
from ovseg.files import write_text
from ovseg.sets import find_row
from ovseg.utils import registered, shown
from ovseg.vocabulary import Vocabulary, prompt_templates
from ovseg.vocabulary.variants import make_variant

NAMES, BACKGROUND, TEMPLATES = 'model.vocabulary.names', 'model.vocabulary.background', 'model.vocabulary.templates'


def word_axes(axes: Axes, cfg: Config, folder: Path) -> List[Axis]:
    """The axes ``vocabulary`` and ``templates`` as steps away from a config.

    Args:
        axes: The axes, of which the others are left out.
        cfg: The config.
        folder: Folder that class lists are written into, so that a command line can name them.

    Raises:
        FileNotFoundError: a variant is neither a known one nor a file.
        ValueError: a variant cannot be made for the config's data set, or templates are refused.
    """
    found = []
    if axes.vocabulary:
        steps = [_vocabulary_step(text, cfg, folder) for text in axes.vocabulary if text != 'official']
        found.append(Axis(steps, optional='official' in axes.vocabulary))
    if axes.templates:
        for text in axes.templates:
            prompt_templates(text)
        found.append(Axis([Step(f'templates={text}', {TEMPLATES: text}, {'templates': text}) for text in axes.templates],
                          optional=False))
    return found


def _vocabulary_step(text: str, cfg: Config, folder: Path) -> Step:
    own = build_component('vocabulary', Vocabulary, cfg.model.get('vocabulary'))
    variant = make_variant(text, _dataset_classes(cfg), own.synonyms)
    names = variant.names if isinstance(variant.names, str) else _written(variant.names, folder)
    options: Dict[str, Any] = {NAMES: names}
    if variant.background is not None or own.background is not None:
        options[BACKGROUND] = variant.background
    return Step(f'vocabulary={text}', options, {'vocabulary': text})


def _written(names: Sequence[str], folder: Path) -> str:
    """The path of a class list with these names; equal lists have equal paths, and are evaluated once."""
    text = ''.join(f'{name}\n' for name in names)
    path = folder / f'classes_{hashlib.sha256(text.encode()).hexdigest()[:8]}.txt'
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    return str(path)


def _dataset_classes(cfg: Config) -> List[str]:
    """The class names of a config's data set itself, which is not built."""
    dataset = cfg.test_dataloader.dataset
    type_: Any = registered(DATASETS, dataset.get('type'))
    if not (isinstance(type_, type) and issubclass(type_, BaseSegDataset)):
        raise ValueError(f'test_dataloader.dataset.type={shown(dataset.get("type"))} must be a data set of images and masks '
                         '(BaseSegDataset)')
    own = row_metainfo(find_row(dataset.get('name'))) if issubclass(type_, TableDataset) else {}  # its class has no names
    metainfo = {**own, **copy.deepcopy(dataset.get('metainfo') or {})}
    metainfo = cast(Any, type_)._load_metainfo(metainfo)  # noqa: SLF001  as its __init__ does
    return list(metainfo['classes'])
