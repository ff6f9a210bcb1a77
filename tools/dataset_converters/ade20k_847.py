"""ADE20K-847 out of the full ADE20K (ADE20K_2021_17_01), as MaskFormer prepares it.

    python tools/dataset_converters/ade20k_847.py data/ADE20K_2021_17_01

Reads ADE20K/images/ADE/validation/**/*.jpg and the *_seg.png beside them, writes OUT/images_detectron2/validation/*.jpg and
16-bit OUT/annotations_detectron2/validation/*.tif. A run that was stopped goes on where it stopped when it is started again.
"""
import argparse
import os
from pathlib import Path

from ovseg.data_check.conversion import claim_folder, convert_ade20k_847, convert_all
from ovseg.program import errors_as_lines, output_path
from ovseg.utils import quoted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('ade20k', type=Path, help='folder of ADE20K_2021_17_01')
    parser.add_argument('--out', type=output_path, help='where the two folders are made (default: in the folder of ADE20K)')
    parser.add_argument('--nproc', type=int, default=os.cpu_count(), help='files worked on at a time (default: one per core)')
    args = parser.parse_args()

    source = args.ade20k / 'images' / 'ADE' / 'validation'
    files = sorted(source.rglob('*.jpg'))
    if not files:
        raise FileNotFoundError(f'{quoted(source)} has no images (SCENE/PLACE/ADE_val_00000001.jpg, ...): '
                                f'{quoted(args.ade20k)} must be the unzipped ADE20K_2021_17_01')
    images, label_maps = (Path(args.out or args.ade20k) / folder / 'validation'
                          for folder in ('images_detectron2', 'annotations_detectron2'))
    jobs = [(path, images / path.name, label_maps / f'{path.stem}.tif') for path in files]
    with claim_folder(images, 'ade20k_847.py'), claim_folder(label_maps, 'ade20k_847.py'):
        converted = convert_all(convert_ade20k_847, jobs, args.nproc, 'ADE20K-847')
    print(f'{quoted(label_maps)}: {converted} label maps written, {len(jobs) - converted} were there')


if __name__ == '__main__':
    with errors_as_lines('tools/dataset_converters/ade20k_847.py'):
        main()
