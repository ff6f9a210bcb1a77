"""Class lists: one class per line, its synonyms separated by commas or semicolons."""
import re
from pathlib import Path
from typing import Dict, List, Sequence, Tuple, Union

CLASS_LISTS = Path(__file__).parent / 'resources' / 'class_lists'


def bundled_class_lists() -> List[str]:
    """Names of the lists that come with ovseg."""
    return sorted(path.stem for path in CLASS_LISTS.glob('*.txt'))


def vocabulary_name(name_path: Union[str, Path, Sequence[str]]) -> str:
    """What a result calls its class list: the bundled list's name, the file's path as given, or ``'custom (K classes)'``."""
    return str(name_path) if isinstance(name_path, (str, Path)) else f'custom ({len(name_path)} classes)'


def class_names(name_path: Union[str, Path, Sequence[str]]) -> List[List[str]]:
    """The synonyms of each class.

    Args:
        name_path: A bundled list's name, a text file's path, or a list of strings, one per class.

    Raises:
        FileNotFoundError: neither a bundled list nor a file.
        ValueError: an empty list or class, or a name that stands twice. A bundled list may repeat a name: it reproduces
            published results, and some of those (``coco_object_sclip``: "bed") were measured with a list that does.
    """
    if isinstance(name_path, (str, Path)):
        where, lines = _read(name_path)
    elif isinstance(name_path, (list, tuple)):
        where, lines = 'the class list', list(name_path)
    else:
        raise ValueError(f'name_path={name_path!r} must be a bundled class list, a file or a list of strings')
    for index, line in enumerate(lines):
        if not isinstance(line, str):
            raise ValueError(f'class {index} of {where} is {line!r}; a class is a string, synonyms separated by commas')
    names = [[' '.join(name.split()) for name in re.split('[,;]', line)] for line in lines]
    _check_not_empty(where, names)
    if str(name_path) not in bundled_class_lists():
        _check_unique(where, names)
    return names


def _read(name_path: Union[str, Path]) -> Tuple[str, List[str]]:
    path = CLASS_LISTS / f'{name_path}.txt' if str(name_path) in bundled_class_lists() else Path(name_path)
    if not path.is_file():
        raise FileNotFoundError(f'name_path={str(name_path)!r} is neither a bundled class list '
                                f'({", ".join(bundled_class_lists())}) nor a file (looked at {path.absolute()})')
    try:
        text = path.read_text(encoding='utf-8-sig').rstrip()
    except UnicodeDecodeError as error:
        raise ValueError(f'class list {path} is not UTF-8: {error}') from error
    return f'class list {path}', text.split('\n') if text else []


def _check_not_empty(where: str, names: Sequence[Sequence[str]]) -> None:
    if not names:
        raise ValueError(f'{where} has no classes')
    for index, synonyms in enumerate(names):
        if not all(synonyms):
            raise ValueError(f'class {index} of {where} has an empty name: {", ".join(synonyms)!r}')


def _check_unique(where: str, names: Sequence[Sequence[str]]) -> None:
    seen: Dict[str, int] = {}
    for index, synonyms in enumerate(names):
        for name in synonyms:
            key = name.casefold()  # CLIP's tokenizer does not see case
            if key in seen:
                raise ValueError(f'{name!r} stands twice in {where}: in class {seen[key]} and in class {index}')
            seen[key] = index
