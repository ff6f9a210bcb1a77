"""The words of one call, and what becomes of pixels that none of them fits."""
from pathlib import Path
from typing import Any, List, Mapping, NamedTuple, Optional, Sequence, Union

from ovseg.datasets.class_lists import class_names
from ovseg.utils import check_number, shown

ClassList = Union[str, Path, Sequence[str]]


class Vocabulary(NamedTuple):
    """Classes and thresholds, under the names that ``CLIPSegmentor`` has for them.

    Args:
        names: What each class is called.
        synonyms: The words that stand for it.
        name_path: The same for ``CLIPSegmentor.set_classes``.
        prob_thd: See ``CLIPSegmentor``, also for the next two.
        area_thd: A share of the foreground.
        bg_idx: The background class.
    """
    names: List[str]
    synonyms: List[List[str]]
    name_path: ClassList
    prob_thd: float = 0.0
    area_thd: Optional[float] = None
    bg_idx: int = 0


def make_vocabulary(model: Mapping[str, Any], classes: Optional[ClassList], background: Optional[Union[str, Sequence[str]]],
                    threshold: Optional[float]) -> Vocabulary:
    """What the arguments of a call say; where they say nothing of classes and background, what the config says.

    Args:
        model: Config of the ``CLIPSegmentor``.
        classes: A bundled list, a path, or a list of strings, one per class; None for the config's.
        background: Words for class 0, one string or several.
        threshold: Replaces ``prob_thd``.

    Raises:
        FileNotFoundError: ``classes`` is a string, but neither a bundled list nor a file.
        ValueError: no words, a repeated word, something else than words, or a threshold without a background.
    """
    from_config = classes is None and background is None
    if threshold is not None:
        check_number('threshold', threshold, 0, 1)
        if threshold and background is None and not (from_config and model.get('prob_thd')):
            raise ValueError(f'threshold={threshold} needs a background, which pixels under it become, '
                             "for instance background='wall, sky'")
    name_path = model['name_path'] if classes is None else classes
    synonyms = _synonyms(name_path)
    names = [words[0] for words in synonyms]
    if from_config:
        settings = {key: model[key] for key in ('prob_thd', 'area_thd', 'bg_idx') if key in model}
        if model.get('prob_thd'):
            names[settings.get('bg_idx', 0)] = 'background'  # whatever the first of its words
        if threshold is not None:
            settings['prob_thd'] = threshold
        return Vocabulary(names, synonyms, name_path, **settings)
    if background is None:
        return Vocabulary(names, synonyms, name_path)
    if 'background' in map(str.casefold, names):
        raise ValueError('background=... makes a class called background, and classes has one already')
    words = [background] if isinstance(background, str) else background
    if not isinstance(words, (list, tuple)) or not all(isinstance(word, str) for word in words):
        raise ValueError(f'background={shown(background)} must be a string, or a list of them')
    name_path = [', '.join(words), *map(', '.join, synonyms)]
    return Vocabulary(['background', *names], class_names(name_path), name_path, threshold or 0.0)


def _synonyms(classes: ClassList) -> List[List[str]]:
    try:
        return class_names(classes)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}. Words come as a list: classes=['cat', 'sofa; couch']") from error
