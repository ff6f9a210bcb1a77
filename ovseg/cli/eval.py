"""Score a folder of label maps, by ovseg or another program, against the data set of a config; no model is built.

    ovseg eval CONFIG FOLDER          (FOLDER: what ovseg test --out wrote)
    ovseg eval CONFIG FOLDER --ids train --cfg-options test_evaluator.iou_metrics=[mIoU,mFscore]

A label map is a grey or palette PNG of its image's size, named like its image: in the image's sub-folder, or all in one folder.
"""
import argparse
from pathlib import Path

from ovseg.cfg_options import add_cfg_options
from ovseg.resources import config_file


def add_parser(commands: 'argparse._SubParsersAction[argparse.ArgumentParser]') -> None:
    """Add ``eval`` to the commands."""
    parser = commands.add_parser('eval', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file, or the name of one that comes with ovseg; its '
                                       'test_dataloader and test_evaluator are used')
    parser.add_argument('folder', help='folder of label maps')
    parser.add_argument('--ids', choices=['original', 'train'], default='original',
                        help="how the files number classes: as the data set's annotation files do (from 1 where 0 is ignored), "
                             'or from 0 in the order of its classes')
    parser.add_argument('--boundary-iou', action='store_true', help='report Boundary IoU beside mIoU')
    add_cfg_options(parser, 'override settings, e.g. test_dataloader.num_workers=8')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Score the label maps and print the table."""
    from mmengine.logging import print_log
    from mmengine.registry import init_default_scope
    from mmengine.utils.dl_utils import set_multi_processing

    from ovseg.components import named_errors
    from ovseg.config import read_config
    from ovseg.data_check.data_files import check_data_files
    from ovseg.evaluation import LabelMapEvaluator
    from ovseg.evaluation.boundary_iou import with_boundary_iou
    from ovseg.evaluation.run_record import recorded_words
    from ovseg.vocabulary.word_record import word_line
    args.config = str(config_file(args.config))
    cfg = read_config(args.config, args.cfg_options, ['test_dataloader.dataset.type', 'test_evaluator'])
    with named_errors(args.config):
        init_default_scope(cfg.get('default_scope') or 'mmseg')
        set_multi_processing(**(cfg.get('env_cfg') or {}).get('mp_cfg', {}))
        check_data_files(cfg.test_dataloader.dataset)
        metrics = with_boundary_iou(cfg.test_evaluator) if args.boundary_iou else cfg.test_evaluator
        evaluator = LabelMapEvaluator(metrics, cfg.test_dataloader.dataset, args.folder, args.ids,
                                      cfg.test_dataloader.get('num_workers', 0))
    scores = evaluator.evaluate(len(evaluator.dataset))
    words = recorded_words(Path(args.folder))
    if words:
        print_log(f'class list: {word_line(words)}', 'current')
    print_log('  '.join(f'{name}: {value:.4f}' for name, value in scores.items()), 'current')
    return 0
