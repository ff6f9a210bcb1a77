"""Copy a config that comes with ovseg, to be edited, or print its path.

    ovseg configs copy gated_vit-b16_ade20k mine                 (writes mine/gated_vit-b16_ade20k.py)
    ovseg test $(ovseg configs path gated_vit-b16_ade20k)

NAME is as ovseg list configs prints it, with or without its folder. The copy can stand anywhere: it builds on the same parts,
which stay in the package. A config of your own builds on one that comes with ovseg by the line

    _base_ = [__import__('ovseg').config_path('gated/gated_vit-b16_ade20k.py')]
"""
import argparse
import ast
import posixpath
from pathlib import Path

from ovseg.program import output_path
from ovseg.resources import configs_dir, named_config
from ovseg.utils import expanded, quoted


def add_parser(commands: 'argparse._SubParsersAction[argparse.ArgumentParser]') -> None:
    """Add ``configs`` to the commands."""
    parser = commands.add_parser('configs', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(title='actions', metavar='ACTION', required=True)
    path = actions.add_parser('path', help='print the path of a config')
    path.set_defaults(run=print_path)
    copy = actions.add_parser('copy', help='copy a config into a folder')
    copy.set_defaults(run=copy_config)
    for action in (path, copy):
        action.add_argument('name', metavar='NAME', help='a config that comes with ovseg (ovseg list configs)')
    copy.add_argument('folder', type=output_path, metavar='DIR', help='the folder; made if it does not exist')


def print_path(args: argparse.Namespace) -> int:
    """Print the path of a config."""
    print(named_config(args.name, 'NAME'))
    return 0


def copy_config(args: argparse.Namespace) -> int:
    """Copy a config into a folder, and print where it is.

    Raises:
        FileExistsError: there is such a file already.
    """
    from ovseg.files import write_text
    source = named_config(args.name, 'NAME')
    folder = expanded('DIR', args.folder)
    target = folder / source.name
    if target.exists():
        raise FileExistsError(f'{quoted(target)} exists already: choose another folder, or rename it')
    folder.mkdir(parents=True, exist_ok=True)
    write_text(target, portable(source))
    print(quoted(target))
    return 0


def portable(config: Path) -> str:
    """Text of a config of ovseg that works from any folder: its base configs are found by ``ovseg.config_path``."""
    text, name = config.read_text(encoding='utf-8'), config.relative_to(configs_dir()).as_posix()
    for statement in ast.parse(text).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == '_base_':
            names = [posixpath.normpath(posixpath.join(posixpath.dirname(name), base))
                     for base in ast.literal_eval(statement.value)]
            calls = [f'    __import__({"ovseg"!r}).config_path({base!r}),\n' for base in names]
            old = ast.get_source_segment(text, statement)
            text = text.replace(str(old), f'_base_ = [\n{"".join(calls)}]', 1)
    text = text.replace('python tools/test.py configs/', 'ovseg test configs/')
    return text.replace(f'configs/{name}', config.name)
