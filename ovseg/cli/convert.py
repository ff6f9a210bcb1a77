"""Convert the published annotations of a benchmark into label maps, or repair the label maps of your own data set in a copy.

    ovseg convert NAME --help
    ovseg convert coco_object data/coco_stuff164k data/coco_object

An interrupted run continues with the same command.
"""
import argparse
import ast
import runpy
import sys
from pathlib import Path
from typing import Dict

from ovseg.resources import configs_dir


def add_parser(commands: 'argparse._SubParsersAction[argparse.ArgumentParser]') -> None:
    """Add ``convert`` to the commands."""
    lines = '\n'.join(f'    {name:<12} {_summary(path)}' for name, path in converters().items())
    parser = commands.add_parser('convert', description=__doc__, epilog=f'converters:\n{lines}',
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('name', choices=list(converters()), metavar='NAME', help='one of the converters below')
    parser.add_argument('arguments', nargs=argparse.REMAINDER, metavar='...', help='its arguments; --help explains them')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run a converter."""
    sys.argv = [f'ovseg convert {args.name}', *args.arguments]  # what a converter reads
    runpy.run_path(str(converters()[args.name]))['main']()
    return 0


def converters() -> Dict[str, Path]:
    """The files of ``tools/dataset_converters``, which have a function ``main``, by name."""
    return {path.stem: path for path in sorted((configs_dir().parent / 'tools' / 'dataset_converters').glob('*.py'))}


def _summary(path: Path) -> str:
    """First line of the docstring of a file."""
    return str(ast.get_docstring(ast.parse(path.read_text(encoding='utf-8')))).splitlines()[0]
