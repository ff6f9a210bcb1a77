"""Classes and thresholds of one call."""
from dataclasses import replace
from pathlib import Path
from typing import Any, List, Mapping, NamedTuple, Optional, Sequence, Union

from ovseg.models.decoder import Decoder
from ovseg.utils import check_choice, check_number, shown
from ovseg.vocabulary import Vocabulary
from ovseg.vocabulary.background import Background

ClassList = Union[str, Path, Sequence[str]]
CONFIDENCE_BITS = (8, 16)

BackgroundNames = Union[str, Sequence[str], Mapping[str, Any], Background]


class Request(NamedTuple):
    """The classes that a call asks for.

    Args:
        names: Display name of each class.
        vocabulary: Their names and synonyms.
        decoder: The decoder with the thresholds of the call.
        confidence_bits: 8 or 16, of the confidence images of the call; 0 for none.
    """
    names: List[str]
    vocabulary: Vocabulary
    decoder: Decoder
    confidence_bits: int = 0

    def with_confidence(self, confidence: int, reject: Optional[float]) -> 'Request':
        """The request with two more arguments of ``OVSegInferencer.stream``.

        Raises:
            ValueError: one of them is not allowed.
        """
        bits = 0 if isinstance(confidence, bool) else check_choice('confidence', confidence, (0, *CONFIDENCE_BITS))
        decoder = replace(self.decoder, with_confidence=True) if confidence else self.decoder
        if reject is not None:
            decoder = replace(decoder, reject=check_number('reject', reject, 0, 1))
        return self._replace(decoder=decoder, confidence_bits=bits)


def make_request(vocabulary: Vocabulary, decoder: Decoder, classes: Optional[ClassList],
                 background: Optional[BackgroundNames], threshold: Optional[float]) -> Request:
    """Classes and thresholds of a call's arguments; those of the config where it names no classes and no background.

    Args:
        vocabulary: The config's.
        decoder: The config's.
        classes: A bundled list, a path, or a list of strings, one per class; None for the config's.
        background: Names of class 0, one string or several; ``'auto'`` or the keywords of ``Background`` for words that are
            chosen.
        threshold: Replaces ``prob_thd``.

    Raises:
        FileNotFoundError: ``classes`` is a string, but neither a bundled list nor a file.
        ValueError: no class names, a repeated name, something else than strings, or a threshold without a background.
    """
    from_config = classes is None and background is None
    if threshold is not None:
        check_number('threshold', threshold, 0, 1)
        if threshold and background is None and not (from_config and decoder.prob_thd):
            raise ValueError(f'threshold={threshold} needs a background, which pixels under it become, '
                             "for instance background='wall, sky'")
    listed = vocabulary if classes is None else _vocabulary(classes, vocabulary)
    names = listed.class_names
    if from_config:
        if decoder.prob_thd:
            names[decoder.bg_idx] = 'background'  # whatever the first of its names
        return Request(names, listed, decoder if threshold is None else replace(decoder, prob_thd=threshold))
    if background is None:
        return Request(names, listed, replace(decoder, prob_thd=0.0, area_thd=None, bg_idx=0))
    if 'background' in map(str.casefold, names):
        raise ValueError('background=... makes a class called background, and classes has one already')
    decoder = replace(decoder, prob_thd=threshold or 0.0, area_thd=None, bg_idx=0)
    if background == 'auto' or isinstance(background, (Mapping, Background)):
        automatic = vocabulary.with_names(['background', *map(', '.join, listed.synonyms)], background)
        return Request(['background', *names], automatic, decoder)
    background_names = [background] if isinstance(background, str) else background
    if not isinstance(background_names, (list, tuple)) or not all(isinstance(name, str) for name in background_names):
        raise ValueError(f'background={shown(background)} must be a string, or a list of them')
    together = [', '.join(background_names), *map(', '.join, listed.synonyms)]
    return Request(['background', *names], vocabulary.with_names(together), decoder)


def _vocabulary(classes: ClassList, vocabulary: Vocabulary) -> Vocabulary:
    try:
        return vocabulary.with_names(classes)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}. Class names are given as a list, ['cat', 'sofa; couch'], or on the command line as "
                                "'cat, sofa; couch'") from error
