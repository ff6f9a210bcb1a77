"""``ovseg predict``: segment images by class names."""
import argparse
import contextlib
import json
import sys
from pathlib import Path
from typing import Dict, List, Union

from ovseg.cfg_options import add_cfg_options
from ovseg.resources import PACKAGE
from ovseg.utils import expanded, quoted

INTERRUPTED = 130  # what shells report of a program that Ctrl-C has ended


def add_parser(commands: 'argparse._SubParsersAction[argparse.ArgumentParser]') -> None:
    """Add ``predict`` to the commands."""
    parser = commands.add_parser(
        'predict', help='segment your own images by your own class names',
        description='Segment images by class names. Writes DIR/vis/NAME.png (the image painted by its classes), '
                    'DIR/pred/NAME.png (the label map: 0 is the first class) and DIR/legend.json, and prints the area of each '
                    'class.',
        epilog='example: ovseg predict cat.jpg holiday/ --classes "cat, sofa; couch, grass" --out out --model gated_vit-b16')
    parser.add_argument('images', nargs='+', metavar='IMAGE', help='a file, a folder (its images) or a URL')
    parser.add_argument('--classes', type=_classes, metavar='NAMES',
                        help='classes separated by commas, synonyms of a class by semicolons: "cat, sofa; couch, grass"; or a '
                             'bundled list (ovseg list class-lists); or a text file that ends with .txt, one class per line '
                             '(default: those of the config)')
    parser.add_argument('--out', type=Path, required=True, metavar='DIR', help='where the results go')
    parser.add_argument('--model', metavar='CONFIG',
                        help='a config (ovseg list configs), with or without its benchmark, or the path to one (default: the '
                             'tiny CLIP of the demo, which works offline and knows 16 names)')
    parser.add_argument('--weights', help="CLIP weights in place of the config's: a tag of open_clip, a file or a folder")
    parser.add_argument('--background', metavar='NAMES', help='names for what is none of the classes: "wall, sky"; class 0')
    parser.add_argument('--threshold', type=float, metavar='P',
                        help='pixels whose best class has a probability under it become background')
    parser.add_argument('--device', help='where to compute: cpu, cuda, cuda:1, ... (default: the GPU, if any)')
    parser.add_argument('--batch-size', type=int, default=1, metavar='N', help='images per forward pass (default: 1)')
    add_cfg_options(parser, 'settings of the config: model.image_encoder.precision=fp16 model.apply_ctd=True')
    parser.add_argument('--json', action='store_true', help='print one JSON document: legend.json with the paths written')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Segment the images; only results go to the standard output."""
    from rich.console import Console

    from ovseg.apis import OVSegInferencer
    from ovseg.tables import terminal_table
    console = Console(file=sys.stdout, markup=False, emoji=False, highlight=False)
    out = expanded('--out', args.out)
    undefined: List[int] = []  # pixels of each image that has some
    try:
        with contextlib.redirect_stdout(sys.stderr):  # so that mmengine's logger does not write to stdout
            inferencer = OVSegInferencer(args.model, args.weights, args.device, cfg_options=args.cfg_options)
            found = inferencer.stream(args.images, args.classes, background=args.background, threshold=args.threshold,
                                      batch_size=args.batch_size, out_dir=out, show_progress=args.json, allow_nonfinite=True)
            for segmentation in found:
                if segmentation.undefined:
                    undefined.append(segmentation.undefined)
                if not args.json:
                    shares = [(name, f'{share:.1%}') for name, share in segmentation.areas.items()]
                    console.print(terminal_table(['class', 'area'], shares, quoted(segmentation.name), numbers=1))
                    for path in _paths(out, segmentation.name).values():
                        console.print(quoted(path), soft_wrap=True)
    except KeyboardInterrupt:
        print(f'ovseg: interrupted; what is finished is in {quoted(out)}', file=sys.stderr)
        return INTERRUPTED
    if undefined:
        print(f'ovseg: warning: {sum(undefined)} pixels of {len(undefined)} images have no class, because their scores are not '
              'finite (NaN or Inf). They are 255 in the label maps (65535 for more than 255 classes) and not painted',
              file=sys.stderr)
    if args.json:
        console.print_json(data=_document(out), ensure_ascii=True)
    return 0


def _classes(text: str) -> Union[str, List[str]]:
    """A bundled list or a text file unchanged; class names as a list with one string per class."""
    bundled = {path.stem for path in (PACKAGE / 'vocabulary' / 'resources').glob('*.txt')}
    return text if text in bundled or Path(text).suffix == '.txt' else text.split(',')


def _paths(out: Path, name: str) -> Dict[str, str]:
    return {folder: str(out / folder / f'{name}.png') for folder in ('vis', 'pred')}


def _document(out: Path) -> Dict[str, list]:
    """``legend.json`` with the paths of each image's files."""
    legend = json.loads((out / 'legend.json').read_text(encoding='utf-8'))
    for image in legend['images']:
        image.update(_paths(out, image['name']))
    return legend
