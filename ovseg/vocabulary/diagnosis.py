"""Class names that a model will confuse, found before the first image."""
from difflib import get_close_matches
from typing import Dict, Iterator, List, Sequence

import torch
from torch import Tensor

from ovseg.vocabulary.class_lists import bundled_class_lists, letters

SAME = 0.999  # cosine of names that a model does not tell apart: other names for its tokens, or words that it has not learned
NEAR = 0.95  # of names that it hardly tells apart: "sofa" and "couch" have 0.97 in OpenAI's ViT-B/16
SHOWN = 5  # pairs or classes in one line
BLOCK = 1024  # names that are compared with all others at a time


def diagnose(synonyms: Sequence[Sequence[str]], rows: Tensor) -> List[str]:
    """Likely mistakes in class names, one line each, with what to do.

    Args:
        synonyms: The names of each class.
        rows: Their unit text embeddings ``(Q, E)``, class by class.

    Returns:
        Lines about classes that can have no pixel, names that the model does not tell apart, names that it hardly tells apart,
        names that differ in spaces or hyphens alone, and a lone class that is nearly the name of a bundled list.
    """
    return [*_meant_as_a_list(synonyms), *_spellings(synonyms), *_similar(synonyms, rows)]


def _similar(synonyms: Sequence[Sequence[str]], rows: Tensor) -> Iterator[str]:
    names = [name for each in synonyms for name in each]
    class_of = torch.tensor([index for index, each in enumerate(synonyms) for _ in each])
    rows = rows.float().cpu()
    visible = torch.zeros(len(synonyms), dtype=torch.bool)
    counts = {'does not tell apart': 0, 'hardly tells apart': 0}
    examples: Dict[str, List[str]] = {what: [] for what in counts}
    for first in range(0, len(rows), BLOCK):
        own = slice(first, first + BLOCK)
        cosine = rows[own] @ rows.t()
        earlier = class_of[own].unsqueeze(1) > class_of  # so that each pair of names of different classes counts once
        same = (cosine > SAME) & earlier
        visible[class_of[own][~same.any(dim=1)]] = True
        near = (cosine > NEAR) & (cosine <= SAME) & earlier
        for what, pairs in (('does not tell apart', same), ('hardly tells apart', near)):
            counts[what] += int(pairs.sum())
            if len(examples[what]) < SHOWN:
                examples[what] += [f'{names[other]!r} and {names[first + index]!r}'
                                   for index, other in pairs.nonzero()[:SHOWN].tolist()]
    hidden = [synonyms[index][0] for index in (~visible).nonzero()[:, 0].tolist()]
    if hidden:
        yield (f'{len(hidden)} of {len(synonyms)} classes can have no pixel, because the model does not tell their names from '
               f'those of earlier classes, which win ties: {_shown(hidden, len(hidden))}; give them other names, or leave them '
               'out')
    for what, limit in (('does not tell apart', SAME), ('hardly tells apart', NEAR)):
        if counts[what]:
            noun = 'pair' if counts[what] == 1 else 'pairs'
            yield (f'the model {what} {counts[what]} {noun} of names of different classes (cosine over {limit}): '
                   f'{_shown(examples[what], counts[what])}; make them synonyms of one class, or choose other names')


def _spellings(synonyms: Sequence[Sequence[str]]) -> Iterator[str]:
    classes: Dict[str, Dict[int, str]] = {}
    for index, each in enumerate(synonyms):
        for name in each:
            classes.setdefault(letters(name), {}).setdefault(index, name)
    found = [' and '.join(map(repr, names.values())) for key, names in classes.items() if key and len(names) > 1]
    if found:
        yield (f'names of different classes differ only in case, spaces or punctuation: {_shown(found, len(found))}; they are '
               'two classes, so their pixels are divided between them')


def _meant_as_a_list(synonyms: Sequence[Sequence[str]]) -> Iterator[str]:
    if len(synonyms) == 1 and len(synonyms[0]) == 1:
        name = synonyms[0][0]
        close = get_close_matches(name.casefold().replace('-', '_').replace(' ', '_'), bundled_class_lists(), n=1, cutoff=0.8)
        if close:
            yield f'{name!r} is taken as the name of one class; the class list is called {close[0]!r}'


def _shown(found: Sequence[str], count: int) -> str:
    return ', '.join(found[:SHOWN]) + (f', and {count - SHOWN} more' if count > SHOWN else '')
