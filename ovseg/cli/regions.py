"""Compute the region maps of a config's data set once and store them, for regions=dict(type='NpzRegions', root=FOLDER).

    ovseg regions corrclip_vit-b16_voc21 --out FOLDER
    ovseg regions CONFIG --out FOLDER --regions type=TransformersRegions model=facebook/sam2-hiera-large
    ovseg regions CONFIG --out FOLDER --regions type=SuperpixelRegions segments=100

An interrupted run continues with the same command, which also replaces the maps of images that have changed.
The default, SAM 2, needs the extra regions and downloads weights.
"""
import argparse

from ovseg.cfg_options import SettingsAction, add_cfg_options, setting
from ovseg.program import output_path
from ovseg.resources import config_file
from ovseg.utils import quoted


def add_parser(commands: 'argparse._SubParsersAction[argparse.ArgumentParser]') -> None:
    """Add ``regions`` to the commands."""
    parser = commands.add_parser('regions', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file, or the name of one that comes with ovseg; its '
                                       'test_dataloader.dataset is used')
    parser.add_argument('--out', type=output_path, required=True,
                        help='folder for the region maps, a file NAME.npz for each image')
    parser.add_argument('--regions', nargs='+', type=setting, action=SettingsAction, default=dict(type='TransformersRegions'),
                        help='the source of the maps and its keywords (default: type=TransformersRegions, which is SAM2)')
    parser.add_argument('--device', help='where a network runs (default: a GPU, if there is one)')
    add_cfg_options(parser, 'override settings, e.g. test_dataloader.dataset.data_root=FOLDER')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Compute the region maps that are missing."""
    import torch
    from mmengine.registry import DefaultScope
    from mmseg.registry import DATASETS

    from ovseg.apis.region_maps import store_region_maps
    from ovseg.components import named_errors
    from ovseg.config import read_config
    from ovseg.data_check.data_files import check_data_files
    from ovseg.devices import usable
    from ovseg.models.regions import build_regions
    args.config = str(config_file(args.config))
    cfg = read_config(args.config, args.cfg_options, ['test_dataloader.dataset.type'])
    regions = build_regions('--regions', args.regions)
    with named_errors(args.config), DefaultScope.overwrite_default_scope('mmseg'):
        check_data_files(cfg.test_dataloader.dataset)
        dataset = DATASETS.build(cfg.test_dataloader.dataset)
    written = store_region_maps(dataset, regions, args.out,
                                usable(args.device or ('cuda' if torch.cuda.is_available() else 'cpu')))
    print(f'{written} of {len(dataset)} region maps were missing or out of date, and are in {quoted(args.out)} now')
    return 0
