"""``ovseg list``: configs, class lists and components to choose from."""
import argparse

from ovseg.cli.catalogue import KINDS, open_clip_backbones


def add_parser(commands: 'argparse._SubParsersAction[argparse.ArgumentParser]') -> None:
    """Add ``list`` to the commands."""
    parser = commands.add_parser('list', description='List what there is to choose from, with one line each.')
    parser.add_argument('kind', nargs='?', choices=list(KINDS),
                        help='what to list (default: an overview; everything with --all, --paths or --json)')
    parser.add_argument('--all', action='store_true', dest='all_backbones',
                        help='backbones: all of open_clip that ovseg supports, not only those of the configs')
    parser.add_argument('--paths', action='store_true', help='print the file of each in place of its description')
    parser.add_argument('--json', action='store_true', help='print JSON')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print one kind of things, all of them, or an overview."""
    if args.all_backbones and args.kind not in (None, 'backbones'):
        args.error(f'--all goes with backbones, not with {args.kind}')
    if args.all_backbones and args.paths:
        args.error('--all has no --paths: these backbones are no files of ovseg')
    if args.kind is None and not (args.all_backbones or args.paths or args.json):
        print_overview()
        return 0
    from rich.console import Console
    from rich.text import Text
    found = {kind: entries() for kind, entries in KINDS.items() if args.kind in (None, kind)}
    if args.all_backbones:
        found['backbones'] = open_clip_backbones()
    console = Console()
    if args.json:
        console.print_json(data=found, ensure_ascii=True)
        return 0
    for kind, entries in found.items():
        if args.kind is None:
            console.print(Text(f'\n{kind}', style='bold underline'))
        width = max((len(entry['name']) for entry in entries), default=0)
        for entry in entries:  # in one line, never broken, so that grep finds the whole of it
            text = entry['path' if args.paths else 'description']
            console.print(Text.assemble((entry['name'].ljust(width), 'bold'), f'  {text}'), soft_wrap=True)
    return 0


def print_overview() -> None:
    """One line for each kind: how many there are, and as many of their names as the line holds."""
    from rich.console import Console
    from rich.text import Text
    console = Console()
    console.print('\nto choose from (ovseg list KIND describes each of them):')
    for kind, entries in KINDS.items():
        names = [entry['name'] for entry in entries()]
        console.print(Text.assemble((f'  {kind:<16}', 'bold'), f'{len(names):>4}  {", ".join(names)}'),
                      no_wrap=True, overflow='ellipsis')
