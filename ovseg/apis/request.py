"""The classes of one call, and the label of pixels that none of them fits."""
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Union

from ovseg.utils import check_number, shown
from ovseg.vocabulary import Vocabulary

ClassList = Union[str, Path, Sequence[str]]

NO_THRESHOLDS: Dict[str, Any] = dict(prob_thd=0.0, area_thd=None, bg_idx=0)


class Request(NamedTuple):
    """The classes that a call asks for.

    Args:
        names: Display name of each class.
        vocabulary: Their names and synonyms.
        thresholds: ``prob_thd, area_thd, bg_idx`` of the decoder.
    """
    names: List[str]
    vocabulary: Vocabulary
    thresholds: Dict[str, Any]


def make_request(model: Mapping[str, Any], classes: Optional[ClassList], background: Optional[Union[str, Sequence[str]]],
                 threshold: Optional[float]) -> Request:
    """The classes and thresholds of a call's arguments; those of the config where it names no classes and no background.

    Args:
        model: Config of the ``CLIPSegmentor``, in its nested form.
        classes: A bundled list, a path, or a list of strings, one per class; None for the config's.
        background: Words for class 0, one string or several.
        threshold: Replaces ``prob_thd``.

    Raises:
        FileNotFoundError: ``classes`` is a string, but neither a bundled list nor a file.
        ValueError: no words, a repeated word, something else than words, or a threshold without a background.
    """
    decoder, templates = model.get('decoder', {}), model['vocabulary'].get('templates', 'imagenet80')
    from_config = classes is None and background is None
    if threshold is not None:
        check_number('threshold', threshold, 0, 1)
        if threshold and background is None and not (from_config and decoder.get('prob_thd')):
            raise ValueError(f'threshold={threshold} needs a background, which pixels under it become, '
                             "for instance background='wall, sky'")
    listed = _vocabulary(model['vocabulary']['names'] if classes is None else classes, templates)
    names = listed.class_names
    if from_config:
        settings = {key: decoder.get(key, default) for key, default in NO_THRESHOLDS.items()}
        if settings['prob_thd']:
            names[settings['bg_idx']] = 'background'  # whatever the first of its words
        if threshold is not None:
            settings['prob_thd'] = threshold
        return Request(names, listed, settings)
    if background is None:
        return Request(names, listed, NO_THRESHOLDS)
    if 'background' in map(str.casefold, names):
        raise ValueError('background=... makes a class called background, and classes has one already')
    words = [background] if isinstance(background, str) else background
    if not isinstance(words, (list, tuple)) or not all(isinstance(word, str) for word in words):
        raise ValueError(f'background={shown(background)} must be a string, or a list of them')
    together = [', '.join(words), *map(', '.join, listed.synonyms)]
    return Request(['background', *names], Vocabulary(together, templates), {**NO_THRESHOLDS, 'prob_thd': threshold or 0.0})


def _vocabulary(classes: ClassList, templates: Union[str, Sequence[str]]) -> Vocabulary:
    try:
        return Vocabulary(classes, templates)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}. Words come as a list: classes=['cat', 'sofa; couch']") from error
