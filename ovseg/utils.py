"""Checks at the door: what was given, what is allowed."""
import difflib
import inspect
import math
from numbers import Integral, Real
from typing import Any, Dict, Iterable, Mapping, Optional, Sequence, TypeVar, Union

from mmengine.registry import Registry

T = TypeVar('T')


def check_choice(key: str, value: T, choices: Sequence[T]) -> T:
    """``value``, if it is one of ``choices``.

    Raises:
        ValueError: names the key, the value and the choices.
    """
    if value not in choices:
        raise ValueError(f'{key}={value!r} is unknown; known: {", ".join(map(str, choices))}')
    return value


def check_flag(key: str, value: bool) -> bool:
    """``value``, if it is True or False.

    Raises:
        ValueError: names the key and the value.
    """
    if not isinstance(value, bool):
        raise ValueError(f'{key}={value!r} must be True or False')
    return value


def check_keys(where: str, given: Mapping[str, Any], allowed: Iterable[str], context: str = '') -> None:
    """Refuse keys that are not ``allowed``.

    Raises:
        ValueError: names the key, the nearest allowed one, and all of them.
    """
    allowed = sorted(allowed)
    for key in given:
        if key not in allowed:
            near = difflib.get_close_matches(key, allowed, 1)
            raise ValueError(f'{where} has no key {key!r}' + (f' with {context}' if context else '')
                             + (f'; did you mean {near[0]!r}?' if near else '')
                             + f'; allowed: {", ".join(allowed) or "none"}')


def check_number(key: str, value: float, at_least: float = 0, at_most: Optional[float] = None,
                 above: bool = False) -> float:
    """``value``, if it is a finite number from ``at_least`` (or ``above`` 0) to ``at_most``.

    Raises:
        ValueError: names the key, the value and the range.
    """
    right_type = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if not (right_type and (value > 0 if above else value >= at_least) and (at_most is None or value <= at_most)):
        open_ended = 'a positive number' if above else f'a number >= {at_least}'
        range_ = open_ended if at_most is None else f'in [{at_least}, {at_most}]'
        raise ValueError(f'{key}={value!r} must be {range_}')
    return value


def check_integer(key: str, value: int, at_least: int, at_most: Optional[int] = None, meaning: str = '') -> int:
    """``value``, if it is an integer from ``at_least`` to ``at_most``; ``meaning`` explains the range in the error.

    Raises:
        ValueError: names the key, the value and the range.
    """
    right_type = isinstance(value, Integral) and not isinstance(value, bool)
    if not (right_type and value >= at_least and (at_most is None or value <= at_most)):
        range_ = f'>= {at_least}' if at_most is None else f'from {at_least} to {at_most}'
        raise ValueError(f'{key}={value!r} must be an integer {range_}' + (f' ({meaning})' if meaning else ''))
    return value


def check_dict(key: str, value: Optional[Mapping[str, Any]]) -> Dict[str, Any]:
    """A copy of ``value``, empty for None.

    Raises:
        ValueError: it is no dict; names the key and the value.
    """
    if value is not None and not isinstance(value, Mapping):
        raise ValueError(f'{key}={value!r} must be a dict')
    return dict(value or {})


def type_name(type_: Union[str, type]) -> str:
    """What a config's ``type`` says: a name, or the class itself, as in mmengine's configs that import what they use."""
    return type_.__name__ if isinstance(type_, type) else type_


def build_checked(registry: Registry, cfg: Union[Mapping[str, Any], str, type]) -> Any:
    """Build ``cfg``, a dict with a ``type`` or the type alone, by ``registry``, with errors that list what is allowed.

    Raises:
        ValueError: no or an unknown ``type``, or a key that its constructor does not have.
    """
    if not isinstance(cfg, Mapping):
        cfg = dict(type=cfg)
    type_ = cfg.get('type')
    class_ = type_ if isinstance(type_, type) else registry.get(type_) if isinstance(type_, str) and type_ else None
    if class_ is None:
        raise ValueError(f'{registry.name} type={type_!r} is unknown; known: {", ".join(sorted(registry.module_dict))}')
    parameters = inspect.signature(class_).parameters.values()
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        check_keys(class_.__name__, {key: value for key, value in cfg.items() if key != 'type'},
                   [parameter.name for parameter in parameters])
    return registry.build(dict(cfg))
