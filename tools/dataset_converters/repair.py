"""A repaired copy of a data set of one's own: label maps that fit the config, beside links to the images.

    python tools/dataset_converters/repair.py CONFIG --out DIR --map 11=255           (11 means "not labelled")
    python tools/dataset_converters/repair.py CONFIG --out DIR --map 255=1            (masks of 0 and 255, two classes)
    python tools/dataset_converters/repair.py CONFIG --out DIR --rgb palette --resize

Reads the data set of the config's test_dataloader, writes DIR/labels (PNG) and links DIR/images; tools/check_dataset.py says
which options are needed. Nothing is changed in the data set. A run that was stopped goes on where it stopped when it is
started again; with other options all label maps are written again.
"""
import argparse
import os

from ovseg.cfg_options import add_cfg_options
from ovseg.components import named_errors
from ovseg.config import read_config
from ovseg.data_check.data_files import check_data_folders
from ovseg.data_check.repair import SHOWN, built_dataset, config_values, repair_of, write_copy
from ovseg.program import errors_as_lines, output_path
from ovseg.utils import quoted


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file')
    parser.add_argument('--out', type=output_path, required=True, help='folder of the copy: an empty or a new one')
    parser.add_argument('--map', nargs='+', action='extend', default=[], metavar='OLD=NEW',
                        help='new values of values in the files, e.g. 11=255, or values of colours, e.g. 128,64,0=3')
    parser.add_argument('--rgb', choices=['grey', 'palette'],
                        help="how colour images are read: as ids stored three times, or by the data set's palette")
    parser.add_argument('--resize', action='store_true', help='bring label maps to the size of their images')
    parser.add_argument('--nearest', action='store_true',
                        help='take the nearest value of --map, or colour of the palette: for JPEG masks and smoothed edges')
    add_cfg_options(parser, 'override settings, e.g. test_dataloader.dataset.data_root=FOLDER')
    parser.add_argument('--nproc', type=int, default=os.cpu_count(), help='files worked on at a time (default: one per core)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = read_config(args.config, args.cfg_options, ['test_dataloader.dataset.type', 'test_evaluator'])
    with named_errors(args.config):
        check_data_folders(cfg.test_dataloader.dataset)
        dataset = built_dataset(cfg)
        repair = repair_of(cfg, dataset, args.map, args.rgb, args.resize, args.nearest)
    pairs, written = write_copy(dataset, repair, args.out, args.nproc)
    print(f'{quoted(args.out)}: {written} label maps written, {len(pairs.complete) - written} were there')
    for paths, what in ((pairs.images, 'images without label map'), (pairs.masks, 'label maps without image')):
        if paths:
            listed = ', '.join(map(quoted, paths[:SHOWN])) + (', ...' if len(paths) > SHOWN else '')
            print(f'left out: {len(paths)} {what}: {listed}')
    values = config_values(dataset, args.out)
    print('To use the copy, set in test_dataloader.dataset of the config:')
    print(''.join(f'    {key}={value!r},\n' for key, value in values.items()), end='')
    flat = {**values, **{f'data_prefix.{key}': value for key, value in values['data_prefix'].items()}}
    print('or, for one run, add to the command:')
    print('    --cfg-options ' + ' '.join(f'test_dataloader.dataset.{key}={value}' for key, value in flat.items()
                                          if key != 'data_prefix'))


if __name__ == '__main__':
    with errors_as_lines('tools/dataset_converters/repair.py'):
        main()
