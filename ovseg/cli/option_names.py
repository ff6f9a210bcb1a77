"""Options of a command in messages that name arguments of Python."""
import re
from contextlib import contextmanager
from typing import Collection, Iterator, Sequence

from ovseg.program import ERRORS

CLASS_ARGUMENTS = ('background', 'classes', 'reject', 'threshold', 'weights')  # of ``add_class_options``
OTHERS = {'out_dir': '--out'}  # arguments whose options have another name


def with_options(text: str, arguments: Collection[str], names: Sequence[str] = ()) -> str:
    """``text`` with the options of a command in place of ``arguments``: ``'tile=10'`` becomes ``'--tile=10'``.

    A name that is an English word counts only in front of ``=``. Parts of paths and of settings (``model.windows.batch_size``)
    are left alone, and so are ``names`` of files.
    """
    for name in names:
        if name in text and with_options(name, arguments) != name:
            return name.join(with_options(part, arguments, names) for part in text.split(name))
    for argument in arguments:
        end = r'\b' if '_' in argument else '(?==)'
        option = OTHERS.get(argument, f'--{argument.replace("_", "-")}')
        text = re.sub(rf'(?<![\w./-]){argument}{end}', option, text)
    return text


@contextmanager
def option_names(arguments: Collection[str], names: Sequence[str] = ()) -> Iterator[None]:
    """Raise errors with options in place of ``arguments``, see ``with_options``.

    Raises:
        ValueError: in place of one of ``ERRORS`` whose message names an argument.
    """
    try:
        yield
    except ERRORS as error:
        text = with_options(str(error), arguments, names)
        if text == str(error):
            raise
        raise ValueError(text) from error
