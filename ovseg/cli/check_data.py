"""Check that a config's data set is complete and its label files are of the right kind. The exit code is 1 if not.

    ovseg check-data gated_vit-b16_ade20k
    ovseg check-data CONFIG --cfg-options test_dataloader.dataset.data_root=FOLDER --json report.json

All files must exist. Images and label maps are read, in an order spread over the data set, for as long as --seconds says.
"""
import argparse
import dataclasses
import json
import os
import warnings
from functools import partial
from typing import TYPE_CHECKING

from ovseg.cfg_options import add_cfg_options
from ovseg.program import output_path
from ovseg.resources import config_file
from ovseg.utils import check_integer, check_number, quoted

if TYPE_CHECKING:
    from ovseg.data_check.check import Report

SHOWN = 3  # files of a finding; --json has all


def show(report: 'Report') -> None:
    """Print a report."""
    from rich.console import Console

    from ovseg.tables import terminal_table
    console = Console()
    line = partial(console.print, soft_wrap=True, markup=False, highlight=False)  # paths and commands stay in one line
    images = f'{report.images} (published: {report.published})' if report.published else str(report.images)
    title = f'{report.dataset} in {report.data_root}' if report.data_root else report.dataset
    facts = [('images', images), ('label files and images read', str(report.read))]
    if report.classes:  # those of a data set that cannot be built are not known
        facts.append(('classes seen in them', f'{report.classes_seen} of {report.classes}'))
    line(title)
    console.print(terminal_table(['', 'number'], facts))
    for finding in report.findings:
        line(f'{"error" if finding.error else "note"}: {finding.what}')
        for file in finding.files[:SHOWN]:
            line(f'    {quoted(file)}')
        if len(finding.files) > SHOWN:
            line(f'    and {len(finding.files) - SHOWN} more')
    for steps in dict.fromkeys(tuple(finding.steps) for finding in report.findings):
        line('To fix it:')
        for step in steps:
            line(f'    {step}')
    console.print('Complete.' if report.complete else 'Not fit for evaluation.')


def add_parser(commands: 'argparse._SubParsersAction[argparse.ArgumentParser]') -> None:
    """Add ``check-data`` to the commands."""
    parser = commands.add_parser('check-data', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file, or the name of one that comes with ovseg')
    add_cfg_options(parser, 'override settings, e.g. test_dataloader.dataset.data_root=FOLDER')
    parser.add_argument('--seconds', type=float, default=45, help='for how long files are read (default: 45)')
    parser.add_argument('--all', action='store_true', help='read all files, however long it takes')
    parser.add_argument('--nproc', type=int, default=os.cpu_count(), help='files read at a time (default: one per core)')
    parser.add_argument('--json', type=output_path, help='write the report to this file')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Check the data set; the exit code is 1 if it is not fit for evaluation."""
    from ovseg.components import named_errors
    from ovseg.config import read_config
    from ovseg.data_check.check import check_dataset
    from ovseg.files import write_text
    args.config = str(config_file(args.config))
    warnings.simplefilter('ignore')  # Pillow's, about files that the report names anyway
    check_number('--seconds', args.seconds)
    check_integer('--nproc', args.nproc, 1)
    cfg = read_config(args.config, args.cfg_options, ['test_dataloader.dataset.type', 'test_evaluator'])
    with named_errors(args.config):
        report = check_dataset(cfg, None if args.all else args.seconds, args.nproc)
    show(report)
    if args.json:
        write_text(args.json, json.dumps(dict(dataclasses.asdict(report), complete=report.complete), indent=1))
    return int(not report.complete)

