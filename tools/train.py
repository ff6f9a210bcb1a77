"""Train a config, with mmseg's arguments. Segmentors here are training-free; this is for heads on a frozen encoder.

    python tools/train.py configs/demo/outlier_impute_head_tiny-clip.py
"""
import argparse
import os
from pathlib import Path

from mmengine.config import Config

from ovseg.cfg_options import add_cfg_options
from ovseg.components import named_errors
from ovseg.config import read_config
from ovseg.engine.brief_runner import BriefRunner
from ovseg.program import errors_as_lines, output_path

NEEDED = ('model.type', 'train_dataloader.dataset.type', 'train_cfg', 'optim_wrapper')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file')
    parser.add_argument('--work-dir', type=output_path,
                        help='folder for logs and checkpoints (default: work_dirs/NAME OF THE CONFIG)')
    parser.add_argument('--resume', action='store_true', help='go on from the last checkpoint in the work dir')
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision')
    add_cfg_options(parser, 'override settings, e.g. train_cfg.max_epochs=8 model.heads.n4.top_k=3')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    return parser.parse_args()


def merged_config(args: argparse.Namespace) -> Config:
    """The config with the command line merged in."""
    cfg = read_config(args.config, args.cfg_options, NEEDED)
    cfg.launcher = args.launcher
    cfg.resume = args.resume
    cfg.work_dir = str(args.work_dir or cfg.get('work_dir') or Path('work_dirs') / Path(args.config).stem)
    if args.amp:
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
    return cfg


def main() -> None:
    args = parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    with named_errors(args.config):
        runner = BriefRunner.from_cfg(merged_config(args))
    runner.train()


if __name__ == '__main__':
    with errors_as_lines('tools/train.py'):
        main()
