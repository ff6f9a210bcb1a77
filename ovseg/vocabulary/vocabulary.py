"""The vocabulary of a model."""
import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, List, Mapping, Sequence, Tuple, Union

from torch import Tensor

from ovseg.components import build_component
from ovseg.utils import shown
from ovseg.vocabulary.background import Background
from ovseg.vocabulary.class_lists import read_class_list, warn_of_one_class
from ovseg.vocabulary.prompt_templates import PROMPT_TEMPLATES, prompt_templates


@dataclass(frozen=True)
class Vocabulary:
    """The component that holds the class names and the sentences that they are put into.

    Args:
        names: A bundled class list, a text file, or a list of strings, one per class, synonyms inside. See ``read_class_list``.
        templates: A bundled set of templates, a text file, or a list of strings with one ``{}``. See ``prompt_templates``.
        background: Words to choose for the background class, ``decoder.bg_idx``: the keywords of ``Background``, ``'auto'`` for
            its defaults, or None for no such words.

    Attributes:
        synonyms: The names of each class.
        sentences: The templates themselves.
        background_words: The words that were chosen; they are among ``synonyms``, see ``with_background``.

    Raises:
        FileNotFoundError: ``names`` is neither a bundled class list nor a file.
        ValueError: ``names``, ``templates`` or ``background`` are refused by their readers.
    """
    names: Union[str, Path, Sequence[str]]
    templates: Union[str, Sequence[str]] = 'imagenet80'
    background: Union[str, Mapping[str, Any], Background, None] = None
    synonyms: List[List[str]] = field(init=False, repr=False)
    sentences: Tuple[str, ...] = field(init=False, repr=False)
    background_words: Tuple[str, ...] = field(init=False, repr=False, default=())

    def __post_init__(self) -> None:
        if isinstance(self.background, str) and self.background != 'auto':
            raise ValueError(f"vocabulary.background={shown(self.background)} must be 'auto', a dict with the keys of "
                             'Background, or None')
        given = {} if self.background == 'auto' else self.background
        derived: Any = dict(
            synonyms=read_class_list(self.names), sentences=prompt_templates(self.templates),
            background=None if given is None else build_component('vocabulary.background', Background, given))
        self.__dict__.update(derived)  # the dataclass is frozen
        warn_of_one_class(self.names, self.synonyms)

    @property
    def class_names(self) -> List[str]:
        """The first name of each class."""
        return [names[0] for names in self.synonyms]

    @property
    def all_names(self) -> List[str]:
        """Every name of every class, Q in all, class by class."""
        return [name for names in self.synonyms for name in names]

    @property
    def class_of_name(self) -> List[int]:
        """The class of each of ``all_names``."""
        return [index for index, names in enumerate(self.synonyms) for _ in names]

    def with_names(self, names: Union[str, Path, Sequence[str]],
                   background: Union[str, Mapping[str, Any], Background, None] = None) -> 'Vocabulary':
        """A vocabulary of other ``names`` in the templates of this one, whose file is not read again.

        Raises:
            FileNotFoundError: see the class.
            ValueError: see the class.
        """
        result = Vocabulary(names, self.sentences, background)
        result.__dict__.update(templates=self.templates)  # their name in results; the dataclass is frozen
        return result

    def with_background(self, encode: Callable[[Sequence[str], Sequence[str]], Tensor], index: int) -> 'Vocabulary':
        """This vocabulary with automatic background words among the names of class ``index``.

        Args:
            encode: Text embeddings of names in templates, as ``TextEncoder.encode`` gives them.
            index: The background class.

        Raises:
            ValueError: the pool has too few words, see ``Background``.
        """
        result = copy.copy(self)  # without reading files again, which may have changed
        result.__dict__.update(synonyms=[list(names) for names in self.synonyms])  # the dataclass is frozen
        if isinstance(result.background, Background):
            pool, plain = result.background.pool, PROMPT_TEMPLATES['plain']
            words = result.background.choose(encode(pool, plain), encode(result.all_names, plain))
            result.synonyms[index].extend(words)
            result.__dict__.update(background_words=tuple(words))
        return result
