"""Draw the held-out scenes of the demo, in mmseg's layout: images/*.jpg and annotations/*.png (class indices).

    python tools/make_demo_scenes.py --out ovseg/datasets/resources/demo_scenes
"""
import argparse
from pathlib import Path

from rich.progress import track

from ovseg.demo.scenes import draw_held_out
from ovseg.files import write_image
from ovseg.program import errors_as_lines
from ovseg.utils import check_integer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--count', type=int, default=60)
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    check_integer('--count', args.count, 1)
    check_integer('--seed', args.seed, 0)
    for folder in ('images', 'annotations'):
        (args.out / folder).mkdir(parents=True, exist_ok=True)
    for index in track(range(args.count), 'scenes'):
        scene = draw_held_out(args.seed, index)
        write_image(scene.image, args.out / 'images' / f'{index:03d}.jpg', quality=90)
        write_image(scene.labels, args.out / 'annotations' / f'{index:03d}.png', optimize=True)


if __name__ == '__main__':
    with errors_as_lines('tools/make_demo_scenes.py'):
        main()
