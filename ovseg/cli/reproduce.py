"""``ovseg reproduce``: scores of presets on their data sets, beside the published ones."""
import argparse
from pathlib import Path

from ovseg.program import output_path

DESCRIPTION = """\
Evaluate presets on their data sets, compare each mIoU with the score in the preset's metafile, and print a Markdown report to
paste into an issue.

  ovseg reproduce demo/gated_tiny-clip_demo               offline, on the scenes that come with ovseg
  ovseg reproduce naclip/naclip_vit-b16_voc20 --subset 100
  ovseg reproduce naclip gated --out report.md            all presets of two methods
  ovseg reproduce mess --out mess.md                      the 22 data sets of MESS, with a mean for each of its domains

The folder of the data sets is that of the environment variable DATA_ROOT (default: data). A preset whose data or weights are
missing is named at the start, and the others are measured. An interrupted run continues with the same command.
Exit code: 0 if every preset was measured and none is outside of the tolerance, else 1."""


def add_parser(commands: 'argparse._SubParsersAction[argparse.ArgumentParser]') -> None:
    """Add ``reproduce`` to the commands."""
    parser = commands.add_parser('reproduce', description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('presets', nargs='+', metavar='NAME',
                        help='preset (naclip/naclip_vit-b16_voc20, or its last part), method (naclip), group of data sets '
                             "(mess), or pattern ('*_voc20')")
    parser.add_argument('--subset', type=int, metavar='N',
                        help='measure on N images of each data set, with the standard error of the sample')
    parser.add_argument('--out', type=output_path, metavar='FILE', help='write the report into a file as well')
    parser.add_argument('--work-dir', type=output_path, default=Path('work_dirs/reproduce'), metavar='DIR',
                        help='folder for intermediate results and logs (default: %(default)s)')
    parser.add_argument('--cfg-options', nargs='+', action='extend', default=[], metavar='KEY=VALUE',
                        help='override settings of all presets, e.g. test_dataloader.num_workers=8; the report lists them')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure the presets, and print the report."""
    from ovseg.reproduce.command import reproduce  # imports torch

    return reproduce(args.presets, args.subset, args.out, args.work_dir, args.cfg_options)
