"""Compute the region maps of a config's data set once and store them, for regions=dict(type='NpzRegions', root=FOLDER).

    python tools/make_regions.py configs/corrclip/corrclip_vit-b16_voc21.py --out FOLDER
    python tools/make_regions.py CONFIG --out FOLDER --regions type=TransformersRegions model=facebook/sam2-hiera-large
    python tools/make_regions.py CONFIG --out FOLDER --regions type=SuperpixelRegions segments=100

Killed? The same line computes what is missing.
"""
import argparse
from pathlib import Path

import torch
from mmengine.config import DictAction
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS

from ovseg.apis.region_maps import store_region_maps
from ovseg.components import named_errors
from ovseg.config import add_cfg_options, read_config, setting
from ovseg.data_check.data_files import check_data_files
from ovseg.devices import usable
from ovseg.models.regions import build_regions
from ovseg.program import errors_as_lines
from ovseg.utils import quoted


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file; its test_dataloader.dataset is used')
    parser.add_argument('--out', type=Path, required=True, help='folder for the region maps, a file NAME.npz for each image')
    parser.add_argument('--regions', nargs='+', type=setting, action=DictAction, default=dict(type='TransformersRegions'),
                        help='the source of the maps and its keywords (default: type=TransformersRegions, which is SAM2)')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu',
                        help='where a network runs (default: a GPU, if there is one)')
    add_cfg_options(parser, 'override settings, e.g. test_dataloader.dataset.data_root=FOLDER')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = read_config(args.config, args.cfg_options, ['test_dataloader.dataset.type'])
    regions = build_regions('--regions', args.regions)
    with named_errors(args.config), DefaultScope.overwrite_default_scope('mmseg'):
        check_data_files(cfg.test_dataloader.dataset)
        dataset = DATASETS.build(cfg.test_dataloader.dataset)
    written = store_region_maps(dataset, regions, args.out, usable(args.device))
    print(f'{written} of {len(dataset)} region maps were missing and are in {quoted(args.out)} now')


if __name__ == '__main__':
    with errors_as_lines('tools/make_regions.py'):
        main()
