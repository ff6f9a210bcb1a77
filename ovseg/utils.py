"""Checks of arguments, and messages that show what was given and what is allowed.

Each ``check_`` function raises a ``ValueError`` that names the key, the value and what is allowed.
"""
import difflib
import inspect
import os
import re
import reprlib
import stat
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterable, Mapping, Optional, Sequence, TypeVar, Union

if TYPE_CHECKING:
    from mmengine.registry import Registry  # takes long, and the console command imports this module before anything else

T = TypeVar('T')

LARGEST_INTEGER = 2 ** 63 - 1  # of torch's int64
LARGEST_NUMBER = 3.4e38  # of float32
DIGITS = 40  # of an integer that a message prints
LONGEST = 1000  # characters of a name or of another package's message


class _Repr(reprlib.Repr):
    """``repr`` with long values cut."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 200
        self.maxdict = self.maxlist = self.maxtuple = 20

    def repr_int(self, x: int, level: int) -> str:
        """As it is, or only the number of its digits: Python refuses to print more than 4300 of them."""
        digits = int(x.bit_length() * 0.30103) + 1
        return f'an integer of about {digits} digits' if digits > DIGITS else repr(x)


def shown(value: Any) -> str:
    """``repr`` of a value for a message: a line that does not fill the terminal."""
    text = _Repr().repr(value)
    return text if len(text) <= LONGEST else f'{text[:LONGEST]}...'


def quoted(name: Union[str, Path]) -> str:
    """A name that comes from outside, for a message or a table: as it is, or in quotes with escapes where that is unclear.

    Line breaks, escape codes of a terminal, and characters without a width or that change the direction of writing are escaped.
    """
    text = str(name)
    if len(text) > LONGEST:
        text = f'{text[:LONGEST // 2]}...{text[-LONGEST // 2:]}'
    return text if text and text.isprintable() else repr(text)


def printable(text: str) -> str:
    """``text`` with escapes in place of characters that control a terminal or cannot be seen, but for line breaks."""
    return re.sub(r'[^\n]', lambda match: match[0] if match[0].isprintable() else ascii(match[0])[1:-1], text)


def one_line(error: BaseException) -> str:
    """The message of another package's error in one line, cut where it is very long."""
    message = str(error.args[0]) if type(error) is KeyError and error.args else str(error)
    text = printable(' '.join(message.split())) or type(error).__name__
    return text if len(text) <= LONGEST else f'{text[:LONGEST]}...'


def expanded(key: str, path: Union[str, Path]) -> Path:
    """``path`` with ``~`` and ``~user`` replaced by the home folder; a file whose name begins with ``~`` is taken as it is.

    Raises:
        ValueError: the home folder is unknown, as that of a user who does not exist is; names ``key``.
    """
    found = Path(os.path.expanduser(path))
    if str(found).startswith('~') and not os.path.lexists(found):
        raise ValueError(f'{key}={quoted(path)}: there is no home folder {quoted(found.parts[0])} (is HOME set, does the user '
                         'exist?); write the path out, or begin it with ./')
    return found


def read_small_text(what: str, path: Union[str, Path], limit: int) -> str:
    """The content of a text file of at most ``limit`` bytes, in UTF-8; errors call it a ``what``, e.g. 'class list'.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it cannot be read; the message of the operating system names it.
        ValueError: it is no regular file (a device never ends), too large, or not UTF-8; names it.
    """
    try:
        is_file = stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError as error:
        raise FileNotFoundError(f'there is no {what} {quoted(Path(path).absolute())}') from error
    except ValueError:  # a name with NUL
        is_file = False
    if not is_file:
        raise ValueError(f'{what} {quoted(path)} is no file')
    with open(path, 'rb') as file:
        content = file.read(limit + 1)  # not all of it: what the size says is not true of every file
    if len(content) > limit:
        raise ValueError(f'{what} {quoted(path)} is larger than {limit} bytes')
    try:
        return content.decode('utf-8-sig')
    except UnicodeDecodeError as error:
        raise ValueError(f'{what} {quoted(path)} is not UTF-8: {error}') from error


def check_choice(key: str, value: T, choices: Sequence[T]) -> T:
    """``value``, if it is one of ``choices``."""
    if not any(isinstance(value, type(choice)) and value == choice for choice in choices):
        raise ValueError(f'{key}={shown(value)} is unknown; known: {", ".join(quoted(str(choice)) for choice in choices)}')
    return value


def check_flag(key: str, value: bool) -> bool:
    """``value``, if it is True or False."""
    if not isinstance(value, bool):
        raise ValueError(f'{key}={shown(value)} must be True or False')
    return value


LEFT_OVER = 'if it is left over from a base config, write _delete_=True beside the type'


def check_keys(where: str, given: Mapping[str, Any], allowed: Iterable[str], context: str = '', hint: str = '') -> None:
    """Refuse keys of ``given`` that are not ``allowed``; the error names the key, the nearest allowed one, and all of them.

    It also has ``where``, the name of what the keys are given to, ``context``, a condition under which they are allowed, and
    ``hint``, advice.
    """
    allowed = sorted(allowed)
    for key in given:
        if key not in allowed:
            near = difflib.get_close_matches(str(key), allowed, 1)
            raise ValueError(f'{where} has no key {shown(key)}' + (f' with {context}' if context else '')
                             + (f'; did you mean {near[0]!r}?' if near else '')
                             + (f' ({hint})' if hint else '') + f'; allowed: {", ".join(allowed) or "none"}')


def check_arguments(key: str, function: Callable[..., Any], given: Mapping[str, Any], hint: str = '') -> None:
    """Refuse keywords ``given`` to the function or class called ``key`` that it does not take, and the lack of those it needs.

    ``hint`` is advice for the error of an unknown keyword.
    """
    parameters = inspect.signature(function).parameters.values()
    named = [parameter for parameter in parameters
             if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)]
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        check_keys(key, given, [parameter.name for parameter in named], hint=hint)
    missing = [parameter.name for parameter in named if parameter.default is parameter.empty and parameter.name not in given]
    if missing:
        raise ValueError(f'{key} has no {" and no ".join(map(repr, missing))} '
                         f'(given: {", ".join(map(str, given)) or "nothing"})')


def check_number(key: str, value: float, at_least: float = 0, at_most: Optional[float] = None,
                 above: bool = False) -> float:
    """``value``, if it is a number from ``at_least`` (or ``above`` 0) to ``at_most`` that float32, or int64, can hold."""
    largest = LARGEST_INTEGER if isinstance(value, Integral) else LARGEST_NUMBER  # torch multiplies by no larger integer
    right_type = isinstance(value, Real) and not isinstance(value, bool) and -largest <= value <= largest
    if not (right_type and (value > 0 if above else value >= at_least) and (at_most is None or value <= at_most)):
        open_ended = 'a positive number' if above else f'a number >= {max(at_least, -LARGEST_NUMBER)}'
        range_ = f'{open_ended}, at most {LARGEST_NUMBER}' if at_most is None else f'in [{at_least}, {at_most}]'
        raise ValueError(f'{key}={shown(value)} must be {range_}')
    return value


def check_integer(key: str, value: int, at_least: int, at_most: Optional[int] = None, meaning: str = '') -> int:
    """``value``, if it is an integer from ``at_least`` to ``at_most``; ``meaning`` explains the range in the error."""
    right_type = isinstance(value, Integral) and not isinstance(value, bool)
    if not (right_type and at_least <= value <= (LARGEST_INTEGER if at_most is None else at_most)):
        range_ = f'>= {at_least}' if at_most is None else f'from {at_least} to {at_most}'
        raise ValueError(f'{key}={shown(value)} must be an integer {range_}' + (f' ({meaning})' if meaning else ''))
    return value


def check_dict(key: str, value: Optional[Mapping[str, Any]]) -> Dict[str, Any]:
    """A copy of ``value``, empty for None, if it is a dict."""
    if value is not None and not isinstance(value, Mapping):
        raise ValueError(f'{key}={shown(value)} must be a dict')
    return dict(value or {})


def type_name(type_: Union[str, type]) -> str:
    """Name of a config's ``type``, which is a name or the class itself, as in mmengine's configs that import what they use."""
    if not isinstance(type_, (str, type)):
        raise ValueError(f'type={shown(type_)} must be a name')
    return type_.__name__ if isinstance(type_, type) else type_


def registered(registry: 'Registry', name: Any) -> Any:
    """The entry of a registry by name; None for a name that is unknown, empty, or no name at all."""
    if not isinstance(name, str) or not name or name.startswith('.'):  # mmengine would import a name with a dot relatively
        return None
    found = registry.get(name)
    return found if callable(found) else None  # 'os.path' is a module


def build_checked(registry: 'Registry', base: Any, cfg: Union[Mapping[str, Any], str, type], key: str = '') -> Any:
    """Build ``cfg``, a dict with a ``type`` of ``base`` or the type alone, by ``registry``; errors call it ``key``.

    Raises:
        ValueError: no or an unknown ``type``, one that is no concrete class of ``base``, a key that its constructor does not
            have, or the lack of one that it needs.
    """
    if not isinstance(cfg, Mapping):
        cfg = dict(type=cfg)
    type_ = cfg.get('type')
    class_ = type_ if isinstance(type_, type) else registered(registry, type_)
    known = f'known: {", ".join(sorted(registry.module_dict))}'
    where = f'{key}.type' if key else f'{registry.name} type'
    if class_ is None:
        raise ValueError(f'{where}={shown(type_)} is unknown; {known}')
    if not (isinstance(class_, type) and issubclass(class_, base)) or inspect.isabstract(class_):
        raise ValueError(f'{where}={shown(type_)} is no concrete {base.__name__}; {known}')
    given = {name: value for name, value in cfg.items() if name != 'type'}
    check_arguments(f'{key} ({class_.__name__})' if key else class_.__name__, class_, given, LEFT_OVER)
    return registry.build(dict(cfg))
