"""The axes of an ablation: read, checked, and combined into chains of steps."""
import argparse
from dataclasses import dataclass, field, fields
from itertools import product
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Sequence, Tuple, Union

import yaml  # type: ignore[import-untyped]
from mmengine.config import DictAction

from ovseg.ablation.choices import COMBINATIONS, SWITCHES
from ovseg.cfg_options import setting
from ovseg.models.segmentors.switches import switch_value
from ovseg.utils import check_choice, check_keys, one_line, quoted, read_small_text, shown

GRID_KEYS = ('model.', 'test_dataloader.dataset.pipeline.')  # what they begin with


@dataclass(frozen=True)
class Axes:
    """The axes along which settings vary.

    Args:
        toggle: Names in ``SWITCHES``: each is flipped.
        grid: Values by dotted config key, of the model or of the test pipeline.
        methods: Config files that are rows beside the baseline; from users, also names, see ``method_configs``.
        vocabulary: Variants of the class list, see ``make_variant``; ``'official'`` is the config's own.
        templates: Prompt templates: bundled sets, or files. See ``prompt_templates``.
        combine: A name in ``COMBINATIONS``. See ``chains``.

    Raises:
        ValueError: nothing is varied, something twice, a key has no values or is none of those, a name is unknown, or methods
            are to be cumulated.
    """
    toggle: Sequence[str] = ()
    grid: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    methods: Sequence[str] = ()
    vocabulary: Sequence[str] = ()
    templates: Sequence[str] = ()
    combine: str = 'one-at-a-time'

    def __post_init__(self) -> None:
        check_choice('combine', self.combine, COMBINATIONS)
        for name, given in dict(toggle=self.toggle, methods=self.methods, vocabulary=self.vocabulary,
                                templates=self.templates).items():
            if not isinstance(given, (list, tuple)) or not all(isinstance(item, str) for item in given):
                raise ValueError(f'{name}={shown(given)} must be a list of names')
            twice = {item for item in given if list(given).count(item) > 1}
            if twice:
                raise ValueError(f'{name} has {", ".join(sorted(twice))} twice')
        for switch in self.toggle:
            check_choice('toggle', switch, SWITCHES)
        if not isinstance(self.grid, Mapping):
            raise ValueError(f'grid={shown(self.grid)} must name keys with their values, e.g. model.logit_scale: [40, 50]')
        for key, values in self.grid.items():
            if not isinstance(values, (list, tuple)) or not values or '' in values:
                raise ValueError(f'grid key {key} has no values: give e.g. {key}=5,10,30')
            if not str(key).startswith(GRID_KEYS):
                raise ValueError(f'grid key {key} must begin with {" or ".join(GRID_KEYS)}: what else a config says either '
                                 'changes no label, or makes rows that cannot be compared')
            again = [value for index, value in enumerate(values) if value in values[:index]]
            if again:
                raise ValueError(f'grid key {key} has {shown(again[0])} twice')
        both = [switch for switch in self.toggle if f'model.{switch}' in self.grid]
        if both and self.combine != 'one-at-a-time':
            raise ValueError(f'{", ".join(both)} cannot be combined with itself: toggle and grid both have it')
        if not (self.toggle or self.grid or self.methods or self.vocabulary or self.templates):
            raise ValueError('nothing is varied: give toggle, grid, methods, vocabulary or templates')
        if self.methods and self.combine == 'cumulative':
            raise ValueError('methods cannot be cumulated, each is a config of its own: take one-at-a-time or full')


def read_axes(path: Path) -> Axes:
    """The axes in a YAML file with the fields of ``Axes`` as keys.

    Raises:
        ValueError: it is no YAML file of such keys, or ``Axes`` refuses it; names the file.
    """
    try:
        content = yaml.safe_load(read_small_text('axes file', path, 2 ** 24))
        if not isinstance(content, Mapping):
            raise ValueError('it must be a mapping')
        check_keys('it', {str(key): value for key, value in content.items()}, [item.name for item in fields(Axes)])
        return Axes(**content)
    except (OSError, RecursionError, yaml.YAMLError, ValueError) as error:
        raise ValueError(f'axes file {quoted(path)}: {one_line(error)}') from error  # of YAML in several lines


def parse_grid(items: Sequence[str]) -> Dict[str, List[Any]]:
    """``KEY=V1,V2`` as on a command line, to values by key.

    Raises:
        ValueError: no ``=``, a key comes twice, or a value would be read as another. See ``setting``.
    """
    grid: Dict[str, List[Any]] = {}
    for item in items:
        key, equals, _ = item.partition('=')
        if not equals:
            raise ValueError(f'grid key {item} has no values: give e.g. {item}=5,10,30')
        if key in grid:
            raise ValueError(f'grid key {key} is given twice: write {key}=V1,V2')
        try:
            setting(item)
        except argparse.ArgumentTypeError as error:
            raise ValueError(f'grid: {error}') from error
        value = as_read(item)
        grid[key] = value if isinstance(value, list) else [value]
    return grid


def as_read(item: str) -> Any:
    """The value of ``KEY=VALUE`` behind ``--cfg-options``."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    value, = parser.parse_args(['--cfg-options', item]).cfg_options.values()
    return value


def as_written(key: str, value: Any) -> Dict[str, str]:
    """``VALUE`` by ``KEY`` as ``--cfg-options`` takes them, several keys where ``value`` is a dict.

    Raises:
        ValueError: it cannot be written so that it is read as the same.
    """
    if isinstance(value, Mapping):
        written: Dict[str, str] = {}
        for name, item in value.items():
            written.update(as_written(f'{key}.{name}', item))
        return written
    text = _text(value)
    found = as_read(f'{key}={text}')
    if found != value or type(found) is not type(value):
        raise ValueError(f'{key}={shown(value)} cannot be given on a command line: --cfg-options {key}={quoted(text)} reads '
                         f'{shown(found)}')
    return {key: text}


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        left, right = '[]' if isinstance(value, list) else '()'
        return left + ','.join(map(_text, value)) + right
    return str(value)


class Step(NamedTuple):
    """One value of one axis: its name in tables, the options that set it, and what it sets, for plots."""
    name: str
    options: Mapping[str, Any]
    values: Mapping[str, Any]


class Axis(NamedTuple):
    """The steps along one axis; ``optional`` says that leaving the config as it is counts as a value of its own."""
    steps: Sequence[Step]
    optional: bool


def axes_of(axes: Axes, model: Mapping[str, Any]) -> List[Axis]:
    """The axes as steps away from a config's ``model``."""
    found = [Axis([_flip(switch, model)], optional=True) for switch in axes.toggle]
    ends = [key.split('.')[-1] for key in axes.grid]
    for (key, values), end in zip(axes.grid.items(), ends):
        short = end if ends.count(end) == 1 else key
        found.append(Axis([_set(key, short, value) for value in values], optional=False))
    return found


def chains(axes: Sequence[Axis], combine: str) -> List[Tuple[Step, ...]]:
    """The steps that lead to each row; the first is the config as it is.

    ``one-at-a-time`` takes every step alone. ``cumulative`` takes each step on top of those before; where an axis has several
    steps, the next one takes the place of the last. ``full`` takes every combination.
    """
    rows: List[Tuple[Step, ...]] = [()]
    if combine == 'one-at-a-time':
        rows += [(step,) for axis in axes for step in axis.steps]
    elif combine == 'cumulative':
        below: Tuple[Step, ...] = ()
        for axis in axes:
            rows += [(*below, step) for step in axis.steps]
            below = rows[-1]
    else:
        choices = [[*([()] if axis.optional else []), *((step,) for step in axis.steps)] for axis in axes]
        rows += [chain for chain in (sum(choice, ()) for choice in product(*choices)) if chain]
    return rows


def _flip(switch: str, model: Mapping[str, Any]) -> Step:
    """Off where the config has it on, and the reverse."""
    now = switch_value(model, switch)
    if switch == 'ignore_residual':
        now = now is not False  # on by default
    new: Union[bool, float] = not now
    if switch == 'global_debias_factor':
        new = 0.0 if now else 0.2
    return Step(f'{"+" if new else "-"} {switch}', {f'model.{switch}': new}, {})


def _set(key: str, short: str, value: Any) -> Step:
    written = as_written(key, value)
    text = ' '.join(written.values())
    return Step(f'{short}={text}', {name: as_read(f'{name}={item}') for name, item in written.items()}, {key: value})
