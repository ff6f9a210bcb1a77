"""Label maps and patches of a data set out of its archive: remote sensing, MESS.

    python tools/dataset_converters/sets.py uavid uavid_v1.5/uavid_test data/UAVid
    python tools/dataset_converters/sets.py whu_aerial data/WHU-BD/val data/WHU-BD

docs/datasets.md has the command of each data set. Nothing in SRC is changed; whole images become links to it. A run that was
stopped goes on where it stopped when it is started again.
"""
import argparse
import os
from pathlib import Path

from ovseg.data_check.repair import parse_map
from ovseg.data_check.set_conversion import convert_set
from ovseg.program import errors_as_lines
from ovseg.sets import ROWS, find_row
from ovseg.utils import expanded, quoted


def main() -> None:
    names = [name for name, row in ROWS.items() if row.conversion]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('name', metavar='NAME', help=f'data set: {", ".join(names)}')
    parser.add_argument('source', type=Path, metavar='SRC', help='folder of its archive')
    parser.add_argument('out', type=Path, metavar='DST', help='folder of the data set, e.g. data/UAVid; may be the same')
    parser.add_argument('--map', nargs='+', action='extend', default=[], metavar='OLD=NEW',
                        help='labels of further values or colours of the masks, e.g. 7=255 or 128,64,0=3; 255 is not scored')
    parser.add_argument('--nearest', action='store_true', help='take the nearest value or colour for all others')
    parser.add_argument('--nproc', type=int, default=os.cpu_count(), help='images worked on at a time (default: one per core)')
    args = parser.parse_args()
    row = find_row(args.name)
    values, colours = parse_map(args.map)
    out = expanded('DST', args.out)
    done, total = convert_set(row, expanded('SRC', args.source), out, args.nproc, values, colours, args.nearest)
    print(f'{quoted(out)}: {done} images converted, {total - done} were there')


if __name__ == '__main__':
    with errors_as_lines('tools/dataset_converters/sets.py'):
        main()
