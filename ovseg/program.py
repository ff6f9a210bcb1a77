"""Beginnings and ends of programs: paths that are written, errors as one line, and output that nobody reads any more."""
import argparse
import io
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

from ovseg.extras import MissingPackageError
from ovseg.utils import printable

# what our functions raise of files, settings and machines; others are defects
ERRORS = (FloatingPointError, MemoryError, MissingPackageError, OSError, ValueError)
PIPE_CLOSED = 141  # what shells report of a program that SIGPIPE has ended


def output_path(text: str) -> Path:
    """``text`` as a path: the ``type`` of an argument for a file or a folder that is written.

    Raises:
        argparse.ArgumentTypeError: it is empty, as an unset variable of the shell is, and ``Path`` would take it for the
            current folder.
    """
    if not text:
        raise argparse.ArgumentTypeError("the path is empty (the current folder is '.')")
    return Path(text)


class _Output(io.TextIOWrapper):
    """A standard stream of the process, which ends with ``PIPE_CLOSED`` where the reader of the stream has ended."""

    def write(self, text: str) -> int:
        with self._ending():
            return super().write(text)

    def flush(self) -> None:
        with self._ending():
            super().flush()

    @contextmanager
    def _ending(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())  # what Python writes at the end of the process would fail again
            os.close(nowhere)
            raise SystemExit(PIPE_CLOSED) from None


@contextmanager
def standard_streams() -> Iterator[None]:
    """Let standard output and error take every character, and end the process where the reader of one has ended.

    ``BrokenPipeError`` would be taken for an error of a file, and loggers and rich catch it.
    """
    for name in ('stdout', 'stderr'):
        stream = getattr(sys, name)
        if stream is getattr(sys, f'__{name}__') and isinstance(stream, io.TextIOWrapper):
            setattr(sys, name, _Output(stream.buffer, stream.encoding, 'backslashreplace', line_buffering=stream.line_buffering,
                                       write_through=stream.write_through))
        elif isinstance(stream, io.TextIOWrapper):  # a program has put it there
            stream.reconfigure(errors='backslashreplace')
    try:
        yield
    finally:
        if sys.stdout is not None:
            sys.stdout.flush()  # Python's own flush at the end of the process would print an error


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
        with standard_streams():
            yield
    except ERRORS as error:
        raise SystemExit(error_line(program, error)) from None
    except KeyboardInterrupt:
        print(f'{program}: interrupted', file=sys.stderr)
        raise SystemExit(130) from None
