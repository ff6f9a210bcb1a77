"""Measure the effect of switches: many settings of a config in one run, as tables with intervals, plots and commands.

    ovseg ablate CONFIG --toggle apply_ctd apply_outlier_suppression global_debias_factor
    ovseg ablate CONFIG --toggle apply_outlier_suppression --grid model.outlier_suppression_cfg.top_k=5,10,30 --full
    ovseg ablate clip_vit-b16_voc21 --methods sclip naclip gated
    ovseg ablate CONFIG --vocabulary official plain no-background auto
    ovseg ablate CONFIG CONFIG2 --axes axes.yaml

The CLIP is loaded once, and settings with equal image encoders and windows share what it computes. A run that was stopped goes
on with the same command.
"""
import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Optional, Sequence, Tuple

from ovseg.ablation.choices import COMBINATIONS, SWITCHES
from ovseg.cfg_options import add_cfg_options
from ovseg.program import ERRORS, output_path
from ovseg.resources import config_file
from ovseg.utils import check_integer, quoted, shown

if TYPE_CHECKING:
    from ovseg.ablation.axes import Axes
    from ovseg.ablation.runner import Pass
    from ovseg.ablation.settings import Setting

INDICES = 'test_dataloader.dataset.indices'


def add_parser(commands: 'argparse._SubParsersAction[argparse.ArgumentParser]') -> None:
    """Add ``ablate`` to the commands."""
    parser = commands.add_parser('ablate', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('configs', nargs='+', metavar='CONFIG', help='the baseline: a config (file or name) for each benchmark')
    parser.add_argument('--toggle', nargs='+', action='extend', metavar='SWITCH',
                        help=f'switches of the model to flip: {" ".join(SWITCHES)}')
    parser.add_argument('--grid', nargs='+', action='extend', metavar='KEY=V1,V2',
                        help='config keys with the values to try')
    parser.add_argument('--methods', nargs='+', action='extend', metavar='METHOD',
                        help='configs on the same data set, or names of methods, as rows of their own')
    parser.add_argument('--vocabulary', nargs='+', action='extend', metavar='VARIANT',
                        help='class lists: official (of the config), plain, no-background, auto, lower, plural, article, a '
                             'bundled list, a file of one class per line, or a file of synonyms: draw:FILE:SEED')
    parser.add_argument('--templates', nargs='+', action='extend', metavar='SET',
                        help='prompt templates: imagenet80, imagenet7, plain, or a file with one sentence per line')
    combine = parser.add_mutually_exclusive_group()
    helps = ('each value alone (default)', 'each value on top of those before', 'every combination')
    for name, text in zip(COMBINATIONS, helps):
        combine.add_argument(f'--{name}', dest='combine', action='store_const', const=name, help=text)
    parser.add_argument('--axes', type=Path, metavar='FILE', help='all of these in a YAML file: toggle, grid, methods, '
                        'vocabulary, templates, combine')
    parser.add_argument('--work-dir', type=output_path,
                        help='folder for rows and tables (default: work_dirs/ablate_NAME OF CONFIG)')
    parser.add_argument('--limit', type=int, metavar='N', help='take the first N images of each data set only')
    add_cfg_options(parser, 'override settings of every row, e.g. test_dataloader.num_workers=8')
    parser.set_defaults(run=run)


def read_arguments(args: argparse.Namespace) -> 'Tuple[Axes, dict]':
    """Parse the axes, and the options of every row."""
    from ovseg.ablation.axes import Axes, parse_grid, read_axes
    given = dict(toggle=args.toggle, grid=args.grid, methods=args.methods, vocabulary=args.vocabulary,
                 templates=args.templates, combine=args.combine)
    given = {name: value for name, value in given.items() if value is not None}
    if args.axes and given:
        raise ValueError(f'--axes replaces {", ".join(given)}: write them into {args.axes}')
    options = dict(args.cfg_options)
    if args.limit is not None:
        if options.get(INDICES) is not None:
            raise ValueError(f'--limit {args.limit} and {INDICES}={shown(options[INDICES])} both choose images: leave one of '
                             'them out')
        options[INDICES] = check_integer('--limit', args.limit, 1)
    if args.axes:
        return read_axes(args.axes), options
    return Axes(**{**given, 'grid': parse_grid(args.grid or [])}), options


def run(args: argparse.Namespace) -> int:
    """Measure all settings."""
    from ovseg.ablation.method_configs import method_configs
    from ovseg.ablation.runner import claimed_folder, plan, unfinished_groups
    from ovseg.ablation.settings import all_settings
    from ovseg.components import named_errors
    args.configs = [str(config_file(config)) for config in args.configs]
    folder = args.work_dir or Path('work_dirs') / f'ablate_{Path(args.configs[0]).stem}'
    axes, options = read_arguments(args)
    axes = replace(axes, methods=method_configs(axes.methods, args.configs, folder / 'methods'))
    settings = all_settings(args.configs, axes, options, folder / 'words')
    with named_errors(', '.join([*args.configs, *axes.methods])):
        passes = plan(settings, folder)
    with claimed_folder(folder, settings):
        if [one.settings for one in passes] != unfinished_groups(settings, folder):  # files or rows have changed meanwhile
            passes = plan(settings, folder)
        evaluate(passes, settings, axes, folder)
    return 0


def evaluate(passes: 'Sequence[Pass]', settings: 'Sequence[Setting]', axes: 'Axes', folder: Path) -> None:
    """Run what is left to do, and report all rows that are finished, also after an error."""
    from ovseg.ablation import runner
    problem: Optional[BaseException] = None
    try:
        runner.run(passes, folder)
    except (KeyboardInterrupt, *ERRORS) as error:
        problem = error
    try:
        finished = report(settings, axes, folder)
    except OSError as error:
        raise OSError(f'cannot write into {quoted(folder)}: {error}') from error
    if problem is not None:
        print(f'stopped with {finished} of {len(settings)} rows; these, and the images that are done of the others, are kept: '
              'the same command goes on there', flush=True)
        raise problem


def report(settings: 'Sequence[Setting]', axes: 'Axes', folder: Path) -> int:
    """Print and write the tables; returns how many rows are in them."""
    from rich.console import Console

    from ovseg.ablation.report import terminal_table, write_report
    from ovseg.ablation.results import read_results
    from ovseg.ablation.spread import spread_note, spreads
    console = Console(width=None if sys.stdout.isatty() else 160, markup=False, emoji=False)
    results = read_results(settings, folder)
    for rows in results:
        console.print(terminal_table(rows))
        for spread in spreads(rows):
            console.print(spread_note(spread), soft_wrap=True)
    if results:
        files = write_report(results, axes.combine, folder)
        console.print(f'{quoted(folder.absolute())}: {", ".join(quoted(file.name) for file in files)}', soft_wrap=True)
    return sum(map(len, results))

