"""The console command ``ovseg``. Each of its commands is a module whose ``add_parser`` sets ``run(args) -> exit code``.

A command's module imports what takes long (torch, mmengine, ...) in its functions, so that help and mistyped arguments are
answered at once.
"""
import argparse
import difflib
import re
import sys
import traceback
from importlib import import_module
from typing import Any, Iterable, Optional, Sequence

from ovseg.program import ERRORS, error_line, errors_as_lines, standard_streams
from ovseg.utils import shown
from ovseg.version import __version__

COMMANDS = {  # a command is the module of that name, with _ for -
    'predict': 'segment your own images by your own class names',
    'web': 'segment images by class names on a web page',
    'demo': 'segment the scenes that come with ovseg, offline',
    'test': 'evaluate a config on its data set',
    'dist-test': 'evaluate a config in several processes, one per GPU',
    'eval': 'score a folder of label maps; no model is built',
    'reproduce': 'measure presets and compare them with their published scores',
    'ablate': 'measure the effect of switches and settings',
    'visualize': 'draw the intermediate results of a model on one image',
    'check-data': "check that a config's data set is complete",
    'convert': 'make the label maps of a benchmark out of raw annotations',
    'regions': "compute and store the region maps of a config's data set",
    'export': 'write a model with its class names as one ONNX file',
    'configs': 'copy a config that comes with ovseg, or print its path',
    'list': 'list what there is to choose from, with one line each',
    'env': 'versions and devices, to be pasted into a bug report',
}
WITHOUT_REGISTRATION = (None, 'configs', 'dist-test', 'env', 'list')


class _Parser(argparse.ArgumentParser):
    """The parser of a command, with the options that all commands have."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.set_defaults(error=self.error, usage=self.format_usage)
        self.add_argument('--debug', action='store_true', default=argparse.SUPPRESS, help='show the traceback of an error')


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the console command.

    Args:
        argv: Its arguments; those of the process by default.

    Returns:
        The exit code: 0, 1 where what was asked for cannot be done, 130 after Ctrl-C. Wrong arguments end the process with 2,
        and a reader of its output that ends before it, as after ``| head``, with 141.
    """
    try:
        with standard_streams():
            return _run(sys.argv[1:] if argv is None else argv, None)
    except ERRORS as error:
        print(error_line('ovseg', error), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('ovseg: interrupted', file=sys.stderr)
        return 130


def run_tool(command: str, program: str) -> None:
    """Run a command with the arguments of the process, and end the process where it fails.

    Args:
        command: Its name.
        program: The file in tools/ that is run: the name in usage and errors.
    """
    with errors_as_lines(program):
        code = _run([command, *sys.argv[1:]], program)
    if code:
        sys.exit(code)


def _run(argv: Sequence[str], program: Optional[str]) -> int:
    """Run the command of ``argv``, called ``program`` if not 'ovseg COMMAND', and return its exit code."""
    args = parse_arguments(argv, program)
    try:
        if args.command not in WITHOUT_REGISTRATION:
            import ovseg.registration  # noqa: F401  unless ovseg/__init__.py has done so
        return args.run(args)
    except ERRORS:
        if getattr(args, 'debug', False):
            traceback.print_exc()
        raise


def parse_arguments(argv: Sequence[str], program: Optional[str] = None) -> argparse.Namespace:
    """Read the arguments of a command. Wrong ones end the process with exit code 2.

    Args:
        argv: The command and its arguments.
        program: Name of the command in usage and errors; ``'ovseg COMMAND'`` by default.
    """
    parser = argparse.ArgumentParser('ovseg', description='Training-free open-vocabulary semantic segmentation with CLIP.',
                                     formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=16),
                                     epilog='"ovseg COMMAND --help" explains a command.')
    parser.add_argument('--version', action='version', version=f'ovseg {__version__}')
    parser.set_defaults(run=lambda args: _help(parser), error=parser.error, usage=parser.format_usage)
    commands = parser.add_subparsers(title='commands', metavar='COMMAND', dest='command', parser_class=_Parser)
    wanted = argv[0] if argv else ''
    if wanted not in COMMANDS and not wanted.startswith('-') and (meant := _meant(wanted, COMMANDS)):
        parser.error(f'{shown(wanted)} is no command{meant}')
    for name, description in COMMANDS.items():
        if name == wanted:
            import_module(f'ovseg.cli.{name.replace("-", "_")}').add_parser(commands)
        else:
            commands.add_parser(name, help=description)
    if program is not None:
        commands.choices[argv[0]].prog = program
    args, unknown = parser.parse_known_args(argv)
    if unknown:  # argparse would name ovseg in place of the command
        options = re.findall(r'--[\w-]+', args.usage())
        meant = _meant(unknown[0].partition('=')[0], options)
        args.error(f'unrecognized arguments: {" ".join(unknown)}{meant}')
    return args


def _meant(text: str, known: Iterable[str]) -> str:
    """The question whether the nearest of what is known was meant, for an error; empty where nothing is near."""
    near = difflib.get_close_matches(text, known, 1)
    return f'; did you mean {near[0]}?' if near else ''


def _help(parser: argparse.ArgumentParser) -> int:
    from ovseg.cli.list import print_overview
    parser.print_help()
    print_overview()
    return 0
