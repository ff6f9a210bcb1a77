"""Building the components of a model from their configs."""
import traceback
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import Any, Dict, Iterator, Mapping, Optional, Type, TypeVar, Union

from mmengine.registry import Registry

from ovseg.resources import PACKAGE
from ovseg.utils import build_checked, check_arguments, one_line, quoted, shown

T = TypeVar('T')


def build_component(key: str, class_: Type[T], cfg: Any) -> T:
    """A component of a fixed class.

    Args:
        key: Its key in a model's config.
        class_: The class.
        cfg: Its keywords, or an object of the class, which is returned as it is.

    Raises:
        ValueError: it is neither, a keyword is unknown, or one is missing.
    """
    if isinstance(cfg, class_):
        return cfg
    if not isinstance(cfg, Mapping):
        raise ValueError(f'{key}={shown(cfg)} must be a dict with the keys of {class_.__name__}: '
                         f'{", ".join(signature(class_).parameters)}')
    check_arguments(key, class_, cfg)
    return class_(**cfg)


def build_registered(key: str, registry: Registry, class_: Any, cfg: Any, default: Optional[str] = None) -> Any:
    """A component whose class the config names.

    Args:
        key: Its key in a model's config.
        registry: Where its type is registered.
        class_: The base class or protocol of its types.
        cfg: A dict with a ``type`` and keywords, a type alone, or an object of the class, which is returned as it is.
        default: The type of a dict without one; None where it must have one.

    Raises:
        ValueError: it is none of those, the type or a keyword is unknown, or a keyword is missing.
    """
    if not isinstance(cfg, (str, type, Mapping)):
        if isinstance(cfg, class_):
            return cfg
        raise ValueError(f'{key}={shown(cfg)} must be a dict with a type, or a type alone; '
                         f'known: {", ".join(sorted(registry.module_dict))}')
    if default is not None and isinstance(cfg, Mapping):
        cfg = {'type': default, **cfg}
    return build_checked(registry, class_, cfg, key)


def with_defaults(registry: Registry, cfg: Union[str, Mapping[str, Any]]) -> Dict[str, Any]:
    """A component's config with its registered type and all keywords: equal for equal components."""
    given = dict(cfg) if isinstance(cfg, Mapping) else dict(type=cfg)
    type_ = given.pop('type')
    class_ = registry.get(type_) if isinstance(type_, str) else type_
    parameters = signature(class_).parameters.values()
    return {**{parameter.name: parameter.default for parameter in parameters}, **given, 'type': class_}


@contextmanager
def named_errors(name: str) -> Iterator[None]:
    """Turn what mmengine, mmcv, mmseg and torch raise when they build something from a config into a line that names it.

    What ovseg's own code raises passes: a ``ValueError`` says what is wrong, and another type is a defect.

    Raises:
        ValueError: in place of their errors.
    """
    try:
        yield
    except (ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, RuntimeError, TypeError,
            ValueError) as error:
        innermost = traceback.extract_tb(error.__traceback__)[-1].filename
        of_config = isinstance(error, TypeError) and 'unexpected keyword argument' in str(error)
        if Path(innermost).is_relative_to(PACKAGE) and not of_config:
            raise
        raise ValueError(f'{quoted(name)}: {one_line(error)} ({type(error).__name__})') from error
