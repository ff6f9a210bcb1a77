"""Draw the label maps of all methods on some of the scenes that come with ovseg: a row for each config of ``configs/demo``.

    python tools/draw_methods.py --figure docs/assets/methods-demo.jpg
"""
import argparse
from pathlib import Path
from typing import Dict, List, Mapping, Sequence

import numpy as np

from ovseg.apis import OVSegInferencer
from ovseg.datasets.demo_scenes_dataset import DEMO_SCENES, PALETTE
from ovseg.demo.textures import CLASSES
from ovseg.files import write_figure
from ovseg.image_files import decoded
from ovseg.program import errors_as_lines
from ovseg.resources import configs_dir
from ovseg.visualization import method_sheet

SCENES = ('007', '012', '015', '035')
SUFFIX = '_tiny-clip_demo.py'
BASELINE = 'vanilla'


def demo_configs() -> Dict[str, Path]:
    """By the name of each method its config for the demo scenes; unmodified CLIP stands first."""
    found = {path.name[:-len(SUFFIX)]: path for path in sorted((configs_dir() / 'demo').glob(f'*{SUFFIX}'))}
    return {BASELINE: found[BASELINE], **found}


def label_maps(configs: Mapping[str, Path], scenes: Sequence[str]) -> Dict[str, List[np.ndarray]]:
    """The ground truth of scenes, then what each method makes of them: one map ``(H, W)`` per scene."""
    maps = {'ground truth': [np.array(decoded(DEMO_SCENES / 'annotations' / f'{scene}.png')) for scene in scenes]}
    for method, config in configs.items():
        maps[method] = OVSegInferencer(config)(scene_files(scenes), show_progress=False)['predictions']
    return maps


def scene_files(scenes: Sequence[str]) -> List[Path]:
    """The images of scenes."""
    return [DEMO_SCENES / 'images' / f'{scene}.jpg' for scene in scenes]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--figure', type=Path, default=Path('docs/assets/methods-demo.jpg'), help='its path')
    return parser.parse_args()


def main() -> None:
    """Run the command line."""
    args = parse_args()
    images = [np.array(decoded(path)) for path in scene_files(SCENES)]
    write_figure(method_sheet(images, label_maps(demo_configs(), SCENES), CLASSES, PALETTE), args.figure)
    print(f'wrote {args.figure}')


if __name__ == '__main__':
    with errors_as_lines('tools/draw_methods.py'):
        main()
