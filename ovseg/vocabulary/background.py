"""Background words that are chosen automatically."""
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, List, Sequence, Tuple, Union

import torch
from mmengine.logging import print_log
from torch import Tensor

from ovseg.sets import FAMILIES
from ovseg.utils import check_integer, check_number
from ovseg.vocabulary.class_lists import bundled_class_lists, read_class_list

LARGEST_POOL = 5000  # words; their similarities take 8 bytes for each two of them


@dataclass(frozen=True)
class Background:
    """Words of things that are none of the classes, which join the background class.

    Of a pool of words those are left out that are too similar to a class; of the rest, ``choose_words`` takes the ones that
    stand for most of it. They are compared by their text embeddings in the sentence ``'a photo of a {}.'``. An independent
    audit of released codes (2026, see ``docs/words.md``) measured 13 to 19 mIoU more on VOC21 with plain class names.

    Args:
        count: Number of words; all, with a warning, where fewer are left.
        max_cosine: Words whose cosine to a name of any class is larger are left out.
        words: The pool, as ``read_class_list`` takes it; None for the names of the bundled class lists of everyday scenes.

    Attributes:
        pool: Its words, each once.

    Raises:
        FileNotFoundError: ``words`` is neither a bundled class list nor a file.
        ValueError: a number out of range, or words that ``read_class_list`` refuses.
    """
    count: int = 64
    max_cosine: float = 0.9
    words: Union[str, Path, Sequence[str], None] = None
    pool: Tuple[str, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_integer('vocabulary.background.count', self.count, 1)
        check_number('vocabulary.background.max_cosine', self.max_cosine, -1, 1)
        lists = everyday_class_lists() if self.words is None else [self.words]
        names = {name.casefold(): name for each in lists for synonyms in read_class_list(each) for name in reversed(synonyms)}
        if len(names) > LARGEST_POOL:
            raise ValueError(f'vocabulary.background.words has {len(names)} words, and at most {LARGEST_POOL} are allowed')
        derived: Any = dict(pool=tuple(names[key] for key in sorted(names)))
        self.__dict__.update(derived)  # the dataclass is frozen

    def choose(self, pool: Tensor, classes: Tensor) -> List[str]:
        """The words whose rows are chosen.

        Args:
            pool: Unit text embeddings of ``self.pool``, ``(P, E)``.
            classes: Those of all names of the classes, ``(Q, E)``.

        Raises:
            ValueError: no word is left.
        """
        pool, classes = pool.cpu(), classes.cpu()
        allowed = ((pool @ classes.t()).amax(dim=1) <= self.max_cosine).nonzero()[:, 0]
        left = (f'{len(allowed)} of {len(self.pool)} words have a cosine of at most {self.max_cosine} (max_cosine) to every '
                'class')
        if len(allowed) == 0:
            raise ValueError(f'vocabulary.background: {left}: raise max_cosine, or give a larger pool (words)')
        if len(allowed) < self.count:
            print_log(f'vocabulary.background: {left}; all of them are taken, in place of {self.count} (count)', 'current', 30)
        chosen = allowed[choose_words(pool[allowed], min(self.count, len(allowed)))]
        return [self.pool[index] for index in chosen.tolist()]


def everyday_class_lists() -> List[str]:
    """The bundled class lists without those of special domains, remote sensing and MESS: a new set changes no other result."""
    special = {name for family in ('remote sensing', 'MESS') for row in FAMILIES[family] for name in row.class_lists}
    return [name for name in bundled_class_lists() if name not in special]


def choose_words(rows: Tensor, count: int) -> Tensor:
    """Greedy facility location: words that stand for all words.

    Each step takes the word with the largest ``sum over i of max(c_i, cos(i, j))``, where ``c_i`` is the largest cosine of
    word i to the words taken before (-1 at first); of equal sums that of the lower index.

    Args:
        rows: Unit text embeddings, ``(P, E)``.
        count: Number of words, at most P.

    Returns:
        Their indices in the order of the steps, ``(count,)`` int64.
    """
    similarity = rows.double() @ rows.double().t()
    covered, larger = torch.full_like(similarity[0], -1), torch.empty_like(similarity)
    chosen: List[int] = []
    for _ in range(count):
        sums = torch.maximum(similarity, covered, out=larger).sum(dim=1)
        sums[chosen] = -torch.inf
        chosen.append(int((sums == sums.max()).nonzero()[0]))
        covered = torch.maximum(covered, similarity[chosen[-1]])
    return torch.tensor(chosen)
