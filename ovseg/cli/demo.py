"""``ovseg demo``: unmodified CLIP and Gated on the scenes that come with ovseg, as a table and a contact sheet."""
import argparse
from pathlib import Path

from ovseg.program import output_path


def add_parser(commands: 'argparse._SubParsersAction[argparse.ArgumentParser]') -> None:
    """Add ``demo`` to the commands."""
    parser = commands.add_parser('demo', description=(
        'Segment the scenes that come with ovseg with unmodified CLIP and with Gated, offline: a table and a contact sheet.'))
    parser.add_argument('--out', type=output_path, default=Path('work_dirs/demo'), metavar='DIR',
                        help='where label maps, logs and contact sheet go (default: %(default)s)')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run both methods and print how they compare."""
    from ovseg.demo.comparison import compare
    compare(args.out)
    return 0
