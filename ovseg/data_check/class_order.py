"""Comparison of the order of a data set's classes with that of a class list."""
from typing import List, NamedTuple, Sequence

from ovseg.utils import shown
from ovseg.vocabulary.class_lists import letters

SHOWN = 3  # classes that a message names


class Misplaced(NamedTuple):
    """A class that has different positions in a data set and in a class list, both counted from 0."""

    name: str
    in_dataset: int
    in_list: int


def misplaced(classes: Sequence[str], synonyms: Sequence[Sequence[str]]) -> List[Misplaced]:
    """Classes of a data set whose name, as a class or a synonym, is in another place of a class list, and not in its own.

    A synonym that is the name of another class does not count where the class that it belongs to has its own name: "rider" may
    be a synonym of "person". Case, spaces and punctuation do not count.

    Args:
        classes: Names in the data set's order.
        synonyms: The names of each class, in the order of the list.
    """
    expected, given = [letters(name) for name in classes], [[letters(name) for name in names] for names in synonyms]
    found = []
    for position, names in enumerate(given):
        own = expected[position] if position < len(expected) else None
        for rank, name in enumerate(names):
            if name == own or name not in expected:
                continue
            index = expected.index(name)
            in_its_place = index < len(given) and name in given[index]
            if not in_its_place and not (rank and own in names):
                found.append(Misplaced(classes[index], index, position))
    return found


def order_difference(classes: Sequence[str], synonyms: Sequence[Sequence[str]]) -> str:
    """Both positions of the first ``misplaced`` classes, for a message; empty where there are none."""
    found = misplaced(classes, synonyms)
    listed = [f'{shown(name)} is class {index} of the data set and class {position} of vocabulary.names'
              for name, index, position in found[:SHOWN]]
    return '; '.join(listed) + (f'; and {len(found) - SHOWN} more' if len(found) > SHOWN else '')
