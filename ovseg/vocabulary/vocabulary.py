"""The vocabulary of a model."""
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, List, Sequence, Tuple, Union

from ovseg.vocabulary.class_lists import read_class_list, vocabulary_name, warn_of_one_class
from ovseg.vocabulary.prompt_templates import prompt_templates


@dataclass(frozen=True)
class Vocabulary:
    """The component that holds the class names and the sentences that they are put into.

    Args:
        names: A bundled class list, a text file, or a list of strings, one per class, synonyms inside. See ``read_class_list``.
        templates: A bundled set of templates, or a list of strings with one ``{}``. See ``prompt_templates``.

    Attributes:
        synonyms: The names of each class.
        sentences: The templates themselves.

    Raises:
        FileNotFoundError: ``names`` is neither a bundled class list nor a file.
        ValueError: ``names`` or ``templates`` are refused by their readers.
    """
    names: Union[str, Path, Sequence[str]]
    templates: Union[str, Sequence[str]] = 'imagenet80'
    synonyms: List[List[str]] = field(init=False, repr=False)
    sentences: Tuple[str, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        derived: Any = dict(synonyms=read_class_list(self.names), sentences=prompt_templates(self.templates))
        self.__dict__.update(derived)  # the dataclass is frozen
        warn_of_one_class(self.names, self.synonyms)

    @property
    def label(self) -> str:
        """The name for results: the bundled list's, the file's path as given, or ``'custom (K classes)'``."""
        return vocabulary_name(self.names)

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
