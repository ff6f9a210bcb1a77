"""COCO-Object out of COCO-Stuff 164k: things 1 .. 80, everything else background.

    python tools/dataset_converters/coco_object.py data/coco_stuff164k data/coco_object

Reads COCO_STUFF/annotations/val2017/*.png (from stuffthingmaps_trainval2017.zip), writes
OUT/annotations/val2017/*_instanceTrainIds.png and links OUT/images to COCO_STUFF/images. A run that was stopped goes on where
it stopped when it is started again.
"""
import argparse
import os
from pathlib import Path

from ovseg.data_check.conversion import claim_folder, convert_all, convert_coco_object
from ovseg.program import errors_as_lines, output_path
from ovseg.utils import quoted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('coco_stuff', type=Path, help='folder of COCO-Stuff 164k')
    parser.add_argument('out', type=output_path, help='folder of COCO-Object, e.g. data/coco_object')
    parser.add_argument('--nproc', type=int, default=os.cpu_count(), help='files worked on at a time (default: one per core)')
    args = parser.parse_args()

    source, target = (root / 'annotations' / 'val2017' for root in (args.coco_stuff, args.out))
    label_maps = sorted(path for path in source.glob('*.png') if path.stem.isdigit())
    if not label_maps:
        raise FileNotFoundError(f'{quoted(source)} has no COCO-Stuff label maps (000000000139.png, ...): '
                                f'unzip stuffthingmaps_trainval2017.zip into {quoted(source.parent)}')
    jobs = [(path, target / f'{path.stem}_instanceTrainIds.png') for path in label_maps]
    with claim_folder(target, 'coco_object.py'):
        converted = convert_all(convert_coco_object, jobs, args.nproc, 'COCO-Object')
    images = args.out / 'images'
    if not (images.exists() or images.is_symlink()):
        images.symlink_to((args.coco_stuff / 'images').resolve(), target_is_directory=True)
    print(f'{quoted(target)}: {converted} label maps written, {len(jobs) - converted} were there')


if __name__ == '__main__':
    with errors_as_lines('tools/dataset_converters/coco_object.py'):
        main()
