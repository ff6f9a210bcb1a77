"""Errors of programs as one line and exit code 1."""
import sys
from contextlib import contextmanager
from typing import Iterator

from ovseg.extras import MissingPackageError
from ovseg.utils import printable

# what our functions raise of files, settings and machines; others are defects
ERRORS = (FloatingPointError, MemoryError, MissingPackageError, OSError, ValueError)


def error_line(program: str, error: BaseException) -> str:
    """The line that ``program`` prints for an error.

    An error of a worker of a data loader comes with its traceback, of which the last line is the message. What would control
    the terminal, such as an escape code in the name of a file, is escaped.
    """
    text = str(error) or type(error).__name__
    if text.startswith('Caught ') and 'Traceback (most recent call last)' in text:
        text = text.splitlines()[-1]
    return f'{program}: error: {printable(text)}'


@contextmanager
def errors_as_lines(program: str) -> Iterator[None]:
    """End the process with ``error_line`` on standard error and exit code 1 for one of ``ERRORS``, with 130 after Ctrl-C.

    The traceback of anything else is shown.
    """
    try:
        yield
    except ERRORS as error:
        raise SystemExit(error_line(program, error)) from None
    except KeyboardInterrupt:
        print(f'{program}: interrupted', file=sys.stderr)
        raise SystemExit(130) from None
