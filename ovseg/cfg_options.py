"""The argument ``--cfg-options`` of the commands. Nothing that takes long is imported before it is given."""
import argparse
import re
from typing import Any, List, Optional, Sequence

from ovseg.utils import shown

DEEPEST = 50  # config files on top of each other, brackets in each other


class SettingsAction(argparse.Action):
    """mmengine's ``DictAction``, imported where the argument is given."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any,
                 option_string: Optional[str] = None) -> None:
        """Read the settings."""
        _dict_action(self.option_strings, self.dest)(parser, namespace, values, option_string)


def setting(text: str) -> str:
    """``text``, if mmengine's ``DictAction`` reads it as it is meant: the ``type`` of an argument ``--cfg-options``.

    Raises:
        argparse.ArgumentTypeError: no ``KEY=VALUE``, brackets that do not match or that enclose a part of a value, or
            a space that it would drop.
    """
    _, equals, value = text.partition('=')
    if not equals:
        raise argparse.ArgumentTypeError(f'{shown(text)} is not KEY=VALUE (what has no name stands in front of --cfg-options)')
    if not _brackets_match(value):
        raise argparse.ArgumentTypeError(f'{shown(text)}: the brackets do not match')
    try:
        _dict_action([], 'options')(argparse.ArgumentParser(), argparse.Namespace(), [text])
    except (AssertionError, RecursionError) as error:  # of a comma in brackets behind something else: x=a[1,2]
        raise argparse.ArgumentTypeError(f'{shown(text)}: the brackets must enclose a whole value') from error
    if re.search(r'[^\s,(\[] +[^\s,)\]]', value):
        raise argparse.ArgumentTypeError(f'{shown(text)}: the spaces would be lost; such values have to stand in a config')
    return text


def add_cfg_options(parser: argparse.ArgumentParser, description: str) -> None:
    """Add the argument ``--cfg-options``, settings by dotted key; ``merge_options`` takes what it reads."""
    parser.add_argument('--cfg-options', nargs='+', type=setting, action=SettingsAction, default={}, metavar='KEY=VALUE',
                        help=description)


def _brackets_match(value: str) -> bool:
    """Return True if each bracket is closed by its own kind, and not too many are nested."""
    open_: List[str] = []
    for character in value:
        if character in '([':
            open_.append(')' if character == '(' else ']')
        elif character in ')]' and (not open_ or open_.pop() != character):
            return False
        if len(open_) > DEEPEST:
            return False
    return not open_


def _dict_action(option_strings: Sequence[str], destination: str) -> argparse.Action:
    from mmengine.config import DictAction
    return DictAction(option_strings, destination)
