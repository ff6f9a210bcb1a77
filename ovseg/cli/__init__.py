"""The console command ``ovseg``. Each of its commands is a module whose ``add_parser`` sets ``run(args) -> exit code``."""
import argparse
import io
import sys
from typing import Optional, Sequence

from ovseg.cli import demo, env, predict, reproduce, web
from ovseg.cli import list as list_
from ovseg.program import ERRORS, error_line
from ovseg.version import __version__

COMMANDS = (predict, web, demo, reproduce, list_, env)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the console command.

    Args:
        argv: Its arguments; those of the process by default.

    Returns:
        The exit code: 0, 1 where what was asked for cannot be done, 130 after Ctrl-C. Wrong arguments end the process with 2.
    """
    parser = argparse.ArgumentParser('ovseg', description='Training-free open-vocabulary semantic segmentation with CLIP.')
    parser.add_argument('--version', action='version', version=f'ovseg {__version__}')
    parser.set_defaults(run=lambda args: _help(parser))
    commands = parser.add_subparsers(title='commands', metavar='COMMAND')
    for command in COMMANDS:
        command.add_parser(commands)
    args = parser.parse_args(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):  # not all of them can take every letter of a class name or of a file's name
        sys.stdout.reconfigure(errors='backslashreplace')
    try:
        return args.run(args)
    except ERRORS as error:
        print(error_line('ovseg', error), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('ovseg: interrupted', file=sys.stderr)
        return 130


def _help(parser: argparse.ArgumentParser) -> int:
    parser.print_help()
    list_.print_overview()
    return 0
