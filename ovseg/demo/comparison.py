"""Unmodified CLIP and Gated on the scenes that come with ovseg, as a table and a contact sheet."""
import warnings
from pathlib import Path
from typing import Dict, Iterable, List, Sequence

import numpy as np
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from rich.console import Console
from rich.table import Table

from ovseg.datasets.demo_scenes_dataset import DEMO_SCENES, PALETTE
from ovseg.demo.textures import CLASSES
from ovseg.evaluation.areas import class_areas, class_iou
from ovseg.files import write_figure
from ovseg.image_files import decoded
from ovseg.resources import configs_dir
from ovseg.tables import terminal_table
from ovseg.visualization import contact_sheet

METHODS = {'unmodified CLIP': 'vanilla_tiny-clip_demo.py', 'Gated': 'gated_tiny-clip_demo.py'}
STEP = 6  # of the scenes that the contact sheet shows


def compare(out: Path) -> None:
    """Run both methods, print how they compare, and leave label maps, logs and contact sheet in ``out``."""
    ground_truth = _read((DEMO_SCENES / 'annotations').glob('*.png'))
    maps, means = {}, {}
    for name, config in METHODS.items():
        Console(stderr=True).print(f'segmenting {len(ground_truth)} scenes: {config}')
        folder = out / config.split('_')[0]
        means[name] = _segment(configs_dir() / 'demo' / config, folder)['mIoU']
        maps[name] = _read(folder.glob('*.png'))
    console = Console(markup=False, emoji=False)
    console.print(_table({name: _class_ious(maps[name], ground_truth) for name in METHODS}, means, len(ground_truth)))
    console.print(f'Same weights, same class names: only the last block changed. Unmodified CLIP attends with QKᵀ and keeps '
                  f'residual and MLP ({means["unmodified CLIP"]:.1f} mIoU); Gated attends with gated QQᵀ·KKᵀ plus the '
                  f'mid-layer similarity map and drops them ({means["Gated"]:.1f} mIoU).')
    images = _read(sorted((DEMO_SCENES / 'images').glob('*.jpg'))[::STEP])
    columns: Dict[str, Sequence[np.ndarray]] = {
        title: column[::STEP] for title, column in {'ground truth': ground_truth, **maps}.items()}
    sheet = out / 'contact_sheet.png'
    write_figure(contact_sheet(images, columns, CLASSES, PALETTE), sheet)
    console.print(f'Contact sheet: {sheet.absolute()}', soft_wrap=True)


def _segment(config: Path, out: Path) -> Dict[str, float]:
    """Run a config on its data set, leave the label maps in ``out`` and return the metrics in percent."""
    cfg = Config.fromfile(config)
    cfg.merge_from_dict(dict(work_dir=str(out.parent / 'logs'), log_level='ERROR', test_evaluator=dict(output_dir=str(out))))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # mmengine and mmseg warn about their own defaults
        return Runner.from_cfg(cfg).test()


def _read(files: Iterable[Path]) -> List[np.ndarray]:
    return [np.array(decoded(path)) for path in sorted(files)]


def _class_ious(maps: List[np.ndarray], ground_truth: List[np.ndarray]) -> np.ndarray:
    """IoU ``(K,)`` of each class over all scenes, in percent."""
    pairs = zip(map(torch.from_numpy, maps), map(torch.from_numpy, ground_truth))
    areas = [class_areas(labels.long(), expected, len(CLASSES), ignore_index=255) for labels, expected in pairs]
    intersect, predicted, actual = torch.stack(areas).sum(dim=0).numpy()
    return class_iou(intersect, predicted + actual - intersect)


def _table(ious: Dict[str, np.ndarray], means: Dict[str, float], scenes: int) -> Table:
    rows = ([label, *(f'{value:.1f}' for value in row)] for label, *row in zip(CLASSES, *ious.values()))
    table = terminal_table(['class', *(f'{name} IoU' for name in ious)], rows, f'{scenes} held-out scenes, embedded tiny CLIP')
    table.add_section()
    table.add_row('mean', *(f'{value:.1f}' for value in means.values()))
    return table
