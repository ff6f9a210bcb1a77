"""Label maps and patches of a remote-sensing data set out of its archive.

    ovseg convert sets uavid uavid_v1.5/uavid_test data/UAVid
    ovseg convert sets whu_aerial data/WHU-BD

docs/datasets.md has the command of each data set. Nothing in SRC is changed, only added where DST is left out; whole images
become links to it. A run that was stopped goes on where it stopped when it is started again.
"""
import argparse
import os

from ovseg.data_check.repair import parse_map
from ovseg.data_check.set_conversion import convert_set
from ovseg.program import errors_as_lines, output_path
from ovseg.sets import ROWS, find_row
from ovseg.utils import expanded, quoted


def main() -> None:
    names = [name for name, row in ROWS.items() if row.conversion]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('name', metavar='NAME', help=f'data set: {", ".join(names)}')
    parser.add_argument('source', type=output_path, metavar='SRC', help='folder of its archive')
    parser.add_argument('out', type=output_path, nargs='?', metavar='DST',
                        help='folder of the data set, e.g. data/UAVid (default: SRC)')
    parser.add_argument('--map', nargs='+', action='extend', default=[], metavar='OLD=NEW',
                        help='labels of further values or colours of the masks, e.g. 7=255 or 128,64,0=3; 255 is not scored')
    parser.add_argument('--nearest', action='store_true', help='take the nearest value or colour for all others')
    parser.add_argument('--nproc', type=int, default=os.cpu_count(), help='images worked on at a time (default: one per core)')
    args = parser.parse_args()
    row = find_row(args.name)
    values, colours = parse_map(args.map)
    source = expanded('SRC', args.source)
    out = expanded('DST', args.out or args.source)
    done, total = convert_set(row, source, out, args.nproc, values, colours, args.nearest)
    print(f'{quoted(out)}: {done} images converted, {total - done} were there')


if __name__ == '__main__':
    with errors_as_lines('tools/dataset_converters/sets.py'):
        main()
