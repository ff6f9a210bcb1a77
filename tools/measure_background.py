"""Measure background words on the demo's scenes, with two of the 16 textures called background.

    python tools/measure_background.py --out work_dirs/background

Writes the label maps of 15 classes and a config into the folder, and compares the hand-made list, whose background class has
the names of both textures, with the plain class names, and with these and automatic background words.
"""
import argparse
from pathlib import Path
from typing import Sequence

import numpy as np
from PIL import Image

from ovseg.cli import main as ovseg
from ovseg.datasets.demo_scenes_dataset import DEMO_SCENES, PALETTE
from ovseg.demo.textures import CLASSES

ROOT = Path(__file__).resolve().parents[1]
TEXTURES = ('gravel', 'wood')  # a ground and a pattern


def write_scenes(folder: Path, textures: Sequence[str]) -> Path:
    """Label maps in which ``textures`` are class 0, and a config of them; returns the config."""
    kept = [index for index, name in enumerate(CLASSES) if name not in textures]
    labels = np.zeros(256, np.uint8)
    labels[kept] = range(1, len(kept) + 1)
    labels[255] = 255
    (folder / 'annotations').mkdir(parents=True, exist_ok=True)
    for path in sorted((DEMO_SCENES / 'annotations').glob('*.png')):
        Image.fromarray(labels[np.asarray(Image.open(path))]).save(folder / 'annotations' / path.name)
    names = ['background', *(CLASSES[index] for index in kept)]
    prefix = dict(img_path=str(DEMO_SCENES / 'images'), seg_map_path=str(folder.resolve() / 'annotations'))
    metainfo = dict(classes=names, palette=[[0, 0, 0], *(PALETTE[index] for index in kept)])
    config = folder / 'background_tiny-clip_demo.py'
    config.write_text(
        f"_base_ = [{str(ROOT / 'configs' / 'demo' / 'gated_tiny-clip_demo.py')!r}]\n"
        f"model = dict(vocabulary=dict(names={[', '.join(['background', *textures]), *names[1:]]}), decoder=dict(bg_idx=0))\n"
        f"test_dataloader = dict(dataset=dict(type='BaseSegDataset', img_suffix='.jpg', seg_map_suffix='.png',\n"
        f"    metainfo={metainfo}, data_prefix={prefix}))\n", encoding='utf-8')
    return config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, default=Path('work_dirs/background'), help='folder (default: %(default)s)')
    parser.add_argument('--limit', help='take the first N images only')
    args = parser.parse_args()
    config = write_scenes(args.out, TEXTURES)
    limit = ['--limit', args.limit] if args.limit else []
    raise SystemExit(ovseg(['ablate', str(config), '--vocabulary', 'official', 'plain', 'auto', '--work-dir',
                            str(args.out / 'ablation'), *limit]))


if __name__ == '__main__':
    main()
