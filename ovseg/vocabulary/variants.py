"""Variants of a vocabulary: the same classes under other names, to measure how much a result depends on the names."""
import random
import re
from difflib import get_close_matches
from pathlib import Path
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

from ovseg.utils import quoted, read_small_text, shown
from ovseg.vocabulary.class_lists import LARGEST_FILE, bundled_class_lists, read_class_list

BACKGROUND = 'background'
IRREGULAR = {'child': 'children', 'deer': 'deer', 'fish': 'fish', 'foot': 'feet', 'goose': 'geese', 'knife': 'knives',
             'leaf': 'leaves', 'man': 'men', 'mouse': 'mice', 'person': 'people', 'sheep': 'sheep', 'shelf': 'shelves',
             'tooth': 'teeth', 'woman': 'women'}
VARIANTS = ('official', 'plain', 'no-background', 'auto', 'lower', 'plural', 'article')
KNOWN = f'{", ".join(VARIANTS)}, draw:FILE:SEED, a bundled class list or a file'


class Variant(NamedTuple):
    """The values of a vocabulary that a variant changes.

    Args:
        names: A string per class, or the name of a bundled list or file.
        background: ``Vocabulary``'s keyword.
    """
    names: Union[str, List[str]]
    background: Optional[str] = None


def make_variant(text: str, classes: Sequence[str], synonyms: Sequence[Sequence[str]]) -> Variant:
    """The vocabulary that a variant stands for.

    ``plain`` has the data set's own names, one per class; ``lower``, ``plural`` and ``article`` have these in lower case, in
    the plural and after "a" or "an"; ``auto`` has them and automatic background words; ``no-background`` is the config's list
    without background words; ``draw:FILE:SEED`` draws from a file, see ``read_synonyms``; the file alone is drawn from with
    seed 0. Anything else is a class list.

    Args:
        text: One of ``VARIANTS`` but ``'official'``, ``'draw:FILE:SEED'``, a file of synonyms, a bundled class list or a file
            of one.
        classes: The data set's own names.
        synonyms: The names of each class in the config's list.

    Raises:
        FileNotFoundError: ``text`` is none of these.
        ValueError: the data set has no class called background and the variant needs it, a class list has another number of
            classes, or two classes get one name.
    """
    plain = plain_names(classes)
    if text == 'no-background':
        lines = [', '.join(names) for names in synonyms]
        index = _background(text, plain)
        _check_count(f"vocabulary={text}: the config's list", lines, plain)
        lines[index] = synonyms[index][0]
        return Variant(lines)
    if text == 'auto':
        _background(text, plain)
        return Variant(plain, 'auto')
    if text.startswith('draw:'):
        return Variant(draw_names(plain, *_file_and_seed(text, plain)))
    if text == 'plain' or text in FORMS:
        names = [FORMS[text](name) if text in FORMS and name != BACKGROUND else name for name in plain]
        _check_different(text, plain, names)
        return Variant(names)
    if _is_synonyms(text, plain):
        return Variant(draw_names(plain, read_synonyms(text, plain), 0))
    return Variant(_class_list(text, plain))


def plain_names(classes: Sequence[str]) -> List[str]:
    """The first name of each class of a data set."""
    return [' '.join(re.split('[,;]', name)[0].split()) for name in classes]


def plural(name: str) -> str:
    """A simple English plural of the last word of a name; a word that ends with a lone s is left as it is."""
    *before, word = name.split(' ')
    if word.lower() in IRREGULAR:
        word = IRREGULAR[word.lower()]
    elif re.search('(ss|us|x|z|ch|sh)$', word):
        word += 'es'
    elif re.search('[^aeiou]y$', word):
        word = f'{word[:-1]}ies'
    elif not word.endswith('s'):
        word += 's'
    return ' '.join([*before, word])


def with_article(name: str) -> str:
    """A name after "an" where it begins with a vowel letter, otherwise after "a"."""
    return f'{"an" if name[:1].lower() in tuple("aeiou") else "a"} {name}'


FORMS: Dict[str, Callable[[str], str]] = {'lower': str.lower, 'plural': plural, 'article': with_article}


def read_synonyms(path: Union[str, Path], classes: Sequence[str]) -> Dict[str, List[str]]:
    """The names of classes in a file with lines ``class: synonym, synonym``; empty lines are skipped.

    Args:
        path: The file.
        classes: The class list. A class without a line has its own name only.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line of another form, a class that is not in the list or comes twice, or a name that two classes could
            get; names the file and the line.
    """
    keys = {_key(name): name for name in classes}
    owner = dict(keys)
    found: Dict[str, List[str]] = {}
    for number, line in enumerate(read_small_text('synonyms file', path, LARGEST_FILE).splitlines(), 1):
        where = f'line {number} of synonyms file {quoted(path)}'
        class_, colon, rest = line.partition(':')
        if not line.strip():
            continue
        if not colon or not rest.strip():
            raise ValueError(f'{where} is {shown(line)}; it must be a class and its names, e.g. "sofa: sofa, couch"')
        if _key(class_) not in keys:
            close = get_close_matches(_key(class_), keys, n=1)
            meant = f'; did you mean {keys[close[0]]!r}' if close else ''
            raise ValueError(f'{where} names the class {shown(class_.strip())}, which is not in the class list{meant}')
        name = keys[_key(class_)]
        if name in found:
            raise ValueError(f'{where} has the class {name!r} again')
        try:
            found[name], = read_class_list([rest])
        except ValueError as error:
            raise ValueError(f'{where}: {error}') from error
        for synonym in found[name]:
            other = owner.setdefault(_key(synonym), name)
            if other != name:
                raise ValueError(f'{where} gives {name!r} the name {synonym!r}, which is also a name of {other!r}')
    if not found:
        raise ValueError(f'synonyms file {quoted(path)} is empty; it must have lines such as "sofa: sofa, couch"')
    return found


def draw_names(classes: Sequence[str], synonyms: Mapping[str, Sequence[str]], seed: int) -> List[str]:
    """One name of each class at random.

    Args:
        classes: The class list.
        synonyms: The names to draw from by class; a class that is missing keeps its own.
        seed: Equal seeds draw equal names.
    """
    generator = random.Random(seed)  # noqa: S311  not for secrets
    return [generator.choice(synonyms.get(name, [name])) for name in classes]


def _file_and_seed(text: str, classes: Sequence[str]) -> Tuple[Dict[str, List[str]], int]:
    path, colon, seed = text[len('draw:'):].rpartition(':')
    if not colon or not path or not re.fullmatch('[0-9]{1,9}', seed):
        raise ValueError(f'vocabulary={shown(text)} must be draw:FILE:SEED with a seed of at most 9 digits, e.g. '
                         'draw:synonyms.txt:0')
    return read_synonyms(path, classes), int(seed)


def _is_synonyms(text: str, classes: Sequence[str]) -> bool:
    """True for a file with a line that begins with a class and a colon; ``read_synonyms`` names its wrong lines."""
    if text in bundled_class_lists() or not Path(text).is_file():
        return False
    keys = {_key(name) for name in classes}
    lines = read_small_text('vocabulary', text, LARGEST_FILE).splitlines()
    return any(':' in line and _key(line.partition(':')[0]) in keys for line in lines)


def _class_list(text: str, classes: Sequence[str]) -> str:
    """A class list that fits the data set."""
    if text not in bundled_class_lists() and not Path(text).is_file():
        raise FileNotFoundError(f'vocabulary={shown(text)} is unknown; known: {KNOWN} (bundled: '
                                f'{", ".join(bundled_class_lists())})')
    listed = read_class_list(text)
    _check_count(f'vocabulary={shown(text)}', listed, classes)
    return text


def _check_count(what: str, listed: Sequence[Sequence[str]], classes: Sequence[str]) -> None:
    if len(listed) != len(classes):
        raise ValueError(f'{what} has {len(listed)} classes, and the data set has {len(classes)}')


def _background(text: str, classes: Sequence[str]) -> int:
    """The index of the background class."""
    if BACKGROUND not in classes:
        raise ValueError(f'vocabulary={text} needs a class called background, and the data set has none')
    return list(classes).index(BACKGROUND)


def _check_different(text: str, classes: Sequence[str], names: Sequence[str]) -> None:
    """Refuse names that two classes share."""
    seen: Dict[str, str] = {}
    for class_, name in zip(classes, names):
        other = seen.setdefault(_key(name), class_)
        if other is not class_:
            raise ValueError(f'vocabulary={text} gives the classes {other!r} and {class_!r} the same name, {name!r}')


def _key(name: str) -> str:
    """A name without differences in case and space, which CLIP's tokenizer does not see."""
    return ' '.join(name.split()).casefold()
