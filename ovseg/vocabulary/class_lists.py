"""Class lists: one class per line, its synonyms separated by commas or semicolons."""
import os
import re
import unicodedata
from pathlib import Path
from typing import Dict, List, Sequence, Tuple, Union

from mmengine.logging import print_log

from ovseg.utils import expanded, quoted, read_small_text, shown

CLASS_LISTS = Path(__file__).parent / 'resources'
LARGEST_FILE = 2 ** 24  # bytes; the largest vocabularies have some 20,000 names
OTHER_SEPARATORS = '，；、،؛﹐﹔､'
INVISIBLE = '\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0'  # beside those whose Unicode category is none of letters


def bundled_class_lists() -> List[str]:
    """Names of the lists that come with ovseg."""
    return sorted(path.stem for path in CLASS_LISTS.glob('*.txt'))


def vocabulary_name(names: Union[str, Path, Sequence[str]]) -> str:
    """Name of a class list in results: the bundled list's name, the file's path as given, or ``'custom'``."""
    return str(names) if isinstance(names, (str, Path)) else 'custom'


def letters(name: str) -> str:
    """The letters and digits of a class name in lower case, which are equal for "potted plant" and "Pottedplant"."""
    return ''.join(filter(str.isalnum, name.casefold()))


def read_class_list(names: Union[str, Path, Sequence[str]]) -> List[List[str]]:
    """Read the synonyms of each class.

    Args:
        names: A bundled list's name, a text file's path, or a list of strings, one per class.

    Raises:
        FileNotFoundError: neither a bundled list nor a file.
        ValueError: a file that is no text file in UTF-8 of at most 16 MiB; an empty list or class; a name without a letter,
            digit or symbol, with a control character, a character without a width, or another script's comma; a comment; or a
            name that stands twice. A bundled list may repeat a name: it reproduces published results, and some of those
            (``coco_object_sclip``: "bed") were measured with a list that does.
    """
    if isinstance(names, (str, Path)):
        where, lines = _read(names)
    elif isinstance(names, (list, tuple)):
        where, lines = 'the class list', list(names)
    else:
        raise ValueError(f'vocabulary.names={shown(names)} must be a bundled class list, a file or a list of strings')
    for index, line in enumerate(lines):
        if not isinstance(line, str):
            raise ValueError(f'class {index} of {where} is {shown(line)}; a class is a string, synonyms separated by commas')
        _check_characters(f'class {index} of {where} (line {index + 1})' if isinstance(names, (str, Path))
                          else f'class {index} of {where}', line)
    classes = [[' '.join(name.split()) for name in re.split('[,;]', line)] for line in lines]
    _check_names(where, classes, may_repeat=str(names) in bundled_class_lists())
    return classes


def warn_of_one_class(names: Union[str, Path, Sequence[str]], classes: Sequence[Sequence[str]]) -> None:
    """Warn of a vocabulary of one class, such as any file of one line gives: every pixel is then of this class."""
    if len(classes) == 1:
        where = f'vocabulary.names={quoted(names)}' if isinstance(names, (str, Path)) else 'the class list'
        print_log(f'{where} has one class only, {", ".join(classes[0])!r}: every pixel will be labelled with it', 'current', 30)


def _read(names: Union[str, Path]) -> Tuple[str, List[str]]:
    if str(names) in bundled_class_lists():
        path = CLASS_LISTS / f'{names}.txt'
    else:
        path = expanded('vocabulary.names', names)
        if not os.path.isfile(path):
            raise FileNotFoundError(f'vocabulary.names={shown(str(names))} is neither a bundled class list '
                                    f'({", ".join(bundled_class_lists())}) nor a file (looked at {quoted(path.absolute())})')
    text = re.sub('\r\n?', '\n', read_small_text('class list', path, LARGEST_FILE)).rstrip()
    return f'class list {quoted(path)}', text.split('\n') if text else []


def _check_characters(where: str, line: str) -> None:
    """Refuse characters that would become part of a name without being meant or seen."""
    plain = line.isascii() and line.replace('\t', ' ').isprintable()
    for character in '' if plain else line.strip():
        category = unicodedata.category(character)
        code = f'U+{ord(character):04X} {unicodedata.name(character, "")}'.strip()
        if (category in ('Cc', 'Cf', 'Cs', 'Zl', 'Zp') and character != '\t') or character in INVISIBLE:
            seen = shown(line).replace(character, ascii(character)[1:-1])
            raise ValueError(f'{where} has the character {code}, which cannot be seen in a name: {seen}')
        if character in OTHER_SEPARATORS:
            raise ValueError(f'{where} has {character!r} ({code}); synonyms are separated by , or ; and classes by line: '
                             f'{shown(line)}')
    if re.search(r'(^|[\s,;])#', line):
        raise ValueError(f'{where} has a #, and class lists have no comments: {shown(line)}')


def _check_names(where: str, classes: Sequence[Sequence[str]], may_repeat: bool) -> None:
    if not classes:
        raise ValueError(f'{where} has no classes')
    seen: Dict[str, int] = {}
    for index, synonyms in enumerate(classes):
        for name in synonyms:
            if not name:
                raise ValueError(f'class {index} of {where} has an empty name: {shown(", ".join(synonyms))}')
            if not any(unicodedata.category(character)[0] in 'LNS' for character in name):
                raise ValueError(f'class {index} of {where} has a name without a letter, digit or symbol: {shown(name)}')

            key = unicodedata.normalize('NFC', name).casefold()  # CLIP's tokenizer sees neither case nor composition
            if key in seen and not may_repeat:
                raise ValueError(f'{shown(name)} stands twice in {where}: in class {seen[key]} and in class {index}')
            seen[key] = index
