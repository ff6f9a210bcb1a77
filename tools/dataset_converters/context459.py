"""Context-459 out of PASCAL-Context's full annotation.

    python tools/dataset_converters/context459.py data/VOCdevkit/VOC2010

Reads VOC2010/trainval/*.mat (from PASCAL-Context's trainval.tar.gz) of the images in
VOC2010/ImageSets/SegmentationContext/val.txt (which mmseg's pascal_context.py writes), writes 16-bit
OUT/annotations_detectron2/pc459_val/*.tif. Needs SciPy. A run that was stopped goes on where it stopped when it is started
again.
"""
import argparse
import os
from pathlib import Path

from ovseg.data_check.conversion import claim_folder, convert_all, convert_context459
from ovseg.program import errors_as_lines, output_path
from ovseg.utils import quoted, read_small_text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('voc2010', type=Path, help='folder VOCdevkit/VOC2010')
    parser.add_argument('--out', type=output_path, help='where annotations_detectron2 is made (default: in VOC2010)')
    parser.add_argument('--split', type=Path,
                        help='names of the images, one a line (default: ImageSets/SegmentationContext/val.txt in VOC2010)')
    parser.add_argument('--nproc', type=int, default=os.cpu_count(), help='files worked on at a time (default: one per core)')
    args = parser.parse_args()

    split = args.split or args.voc2010 / 'ImageSets' / 'SegmentationContext' / 'val.txt'
    names = read_small_text('split', split, 2 ** 24).split()
    source = args.voc2010 / 'trainval'
    absent = [name for name in names if not (source / f'{name}.mat').is_file()]
    if absent:
        raise FileNotFoundError(f'{len(absent)} of {len(names)} images of {quoted(split)} have no .mat file in '
                                f'{quoted(source)}, the first is {quoted(absent[0])}: '
                                "unpack PASCAL-Context's trainval.tar.gz there")
    target = Path(args.out or args.voc2010) / 'annotations_detectron2' / 'pc459_val'
    jobs = [(source / f'{name}.mat', target / f'{name}.tif') for name in names]
    with claim_folder(target, 'context459.py'):
        converted = convert_all(convert_context459, jobs, args.nproc, 'Context-459')
    print(f'{quoted(target)}: {converted} label maps written, {len(jobs) - converted} were there')


if __name__ == '__main__':
    with errors_as_lines('tools/dataset_converters/context459.py'):
        main()
