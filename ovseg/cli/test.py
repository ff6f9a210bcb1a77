"""Evaluate a config on its data set, like mmseg's tools/test.py, without the need of a checkpoint.

    ovseg test gated_tiny-clip_demo
    ovseg test CONFIG --cfg-options model.model_type=NACLIP --show-dir painted
    ovseg test CONFIG --out predictions --resume       (an interrupted run continues with the same command)

The scores are printed, and written with the log into the work dir.
"""
import argparse
import os
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from ovseg.cfg_options import add_cfg_options
from ovseg.launch import PARENT, end_with_parent, join_processes_on_cpu
from ovseg.program import output_path
from ovseg.resources import config_file
from ovseg.utils import quoted, type_name

if TYPE_CHECKING:
    from mmengine.config import Config

TRAINING_KEYS = ('train_dataloader', 'train_cfg', 'val_dataloader', 'val_cfg', 'val_evaluator', 'optim_wrapper', 'optimizer',
                 'param_scheduler')
NEEDED = ('model.type', 'test_dataloader.dataset.type', 'test_evaluator', 'test_cfg')


def add_parser(commands: 'argparse._SubParsersAction[argparse.ArgumentParser]') -> None:
    """Add ``test`` to the commands."""
    parser = commands.add_parser('test', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file, or the name of one that comes with ovseg')
    parser.add_argument('checkpoint', nargs='?', help='checkpoint to load on top; CLIP weights come with the config')
    parser.add_argument('--work-dir', type=output_path,
                        help='folder for logs and metrics (default: work_dirs/NAME OF THE CONFIG)')
    parser.add_argument('--out', type=output_path, help="folder for predicted label maps (PNG, ids as in the data set's files)")
    parser.add_argument('--resume', action='store_true',
                        help='predict only what has no label map in --out yet, then score all label maps there')
    parser.add_argument('--boundary-iou', action='store_true', help='report Boundary IoU beside mIoU')
    parser.add_argument('--show', action='store_true', help='show predictions in a window')
    parser.add_argument('--show-dir', type=output_path, help='folder for painted predictions')
    parser.add_argument('--wait-time', type=float, default=2, help='seconds each window stays open')
    add_cfg_options(parser, 'override settings, e.g. model.logit_scale=50 model.slide_crop=0')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--tta', action='store_true', help="test-time augmentation, with the config's tta_pipeline")
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    parser.set_defaults(run=run)


def merged_config(args: argparse.Namespace) -> 'Config':
    """The config with the command line merged in."""
    import torch

    from ovseg.config import read_config
    cfg = read_config(args.config, args.cfg_options, NEEDED)
    cfg.launcher = args.launcher
    cfg.load_from = args.checkpoint or cfg.get('load_from')
    for key in TRAINING_KEYS:  # mmseg's own data set configs bring them, and a Runner refuses half of a training setup
        cfg.pop(key, None)
    cfg.work_dir = str(args.work_dir or cfg.get('work_dir') or Path('work_dirs') / Path(args.config).stem)
    cfg.test_dataloader.setdefault('pin_memory', torch.cuda.is_available())
    if args.boundary_iou:
        from ovseg.evaluation.boundary_iou import with_boundary_iou
        cfg.test_evaluator = with_boundary_iou(cfg.test_evaluator)
    _merge_painting(cfg, args)
    _merge_label_maps(cfg, args)
    if args.tta:
        _merge_augmentation(cfg, args.config)
    return cfg


def _merge_painting(cfg: 'Config', args: argparse.Namespace) -> None:
    """Merge the options of painted predictions."""
    from ovseg.config import check_config
    if args.show or args.show_dir:
        check_config(cfg, args.config, ['default_hooks.visualization', 'visualizer'])
        cfg.default_hooks.visualization.update(draw=True, interval=1, show=args.show, wait_time=args.wait_time)
    if args.show_dir:
        cfg.visualizer.save_dir = str(args.show_dir)


def _merge_label_maps(cfg: 'Config', args: argparse.Namespace) -> None:
    """Merge the options of label maps, which ``--resume`` completes and scores; warn of pixels that are not finite."""
    cfg.custom_hooks = [hook for hook in cfg.get('custom_hooks', []) if type_name(hook['type']) != 'NonFiniteHook']
    if not args.resume:  # LabelMapEvaluator counts the pixels of all label maps
        cfg.custom_hooks.append(dict(type='NonFiniteHook'))
    if args.out:
        cfg.custom_hooks.append(dict(type='LabelMapHook', out_dir=str(args.out)))
    if args.resume:
        loader = cfg.test_dataloader
        loader.sampler = dict(type='UnfinishedSampler', out_dir=str(args.out))
        cfg.test_evaluator = dict(type='LabelMapEvaluator', metrics=cfg.test_evaluator, dataset=loader.dataset.copy(),
                                  folder=str(args.out), num_workers=loader.get('num_workers', 0))


def _merge_augmentation(cfg: 'Config', config: str) -> None:
    """Merge the test-time augmentation that the config describes.

    Raises:
        ValueError: it describes none.
    """
    for key in ('tta_pipeline', 'tta_model'):
        if key not in cfg:
            raise ValueError(f'--tta: {quoted(config)} has no {key}, which says what is augmented and how results are merged')
    cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
    cfg.model = {**cfg.tta_model, 'module': cfg.model}


def run(args: argparse.Namespace) -> int:
    """Evaluate the config."""
    if args.resume and not args.out:
        args.error('--resume needs --out')
    args.config = str(config_file(args.config))
    import torch

    from ovseg.components import named_errors
    from ovseg.engine.brief_runner import BriefRunner
    from ovseg.evaluation.run_record import claimed_label_maps
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = merged_config(args)
    if args.launcher == 'pytorch':
        end_with_parent(PARENT)
    if args.launcher != 'none' and not torch.cuda.is_available():
        join_processes_on_cpu(args.launcher)
    with named_errors(args.config):
        runner = BriefRunner.from_cfg(cfg)
    with claimed_label_maps(args.out, cfg, runner.model, args.resume) if args.out else nullcontext():
        with named_errors(args.config):
            dataset = runner.test_loop.dataloader.dataset  # builds data and metrics
        runner.logger.info(f'{quoted(args.config)}: {len(dataset)} images of {type(dataset).__name__}')
        runner.test()
    if torch.distributed.is_initialized():  # gloo's threads may abort a process that ends with them
        torch.distributed.destroy_process_group()
    return 0
