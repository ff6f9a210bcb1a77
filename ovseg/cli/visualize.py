"""Draw the intermediate results of a model on one image.

    ovseg visualize gated_full_tiny-clip IMAGE --points 100,150 180,60
    ovseg visualize CONFIG IMAGE --ground-truth LABELS.png --model-types Vanilla NACLIP --svg

attention.png        attention of patches in the last block, by model_type
similarity.png       the mid-layer similarity of patches to all others
outliers.png         outlier scores, and the patches that outlier suppression replaces
clusters.png         the clusters of CTD
cls_similarity.png   similarity to the CLS token before and after global debiasing
scores.png           scores of classes
errors.png           wrong pixels (with --ground-truth)
"""
import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Tuple

from ovseg.cfg_options import add_cfg_options
from ovseg.program import output_path
from ovseg.utils import expanded, quoted

if TYPE_CHECKING:
    from ovseg.apis import OVSegInferencer


def point(text: str) -> Tuple[int, int]:
    """Row and column of ``Y,X``."""
    y, x = text.split(',')
    return int(y), int(x)


def add_parser(commands: 'argparse._SubParsersAction[argparse.ArgumentParser]') -> None:
    """Add ``visualize`` to the commands."""
    parser = commands.add_parser('visualize', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file, or the name of one that comes with ovseg')
    parser.add_argument('image', type=Path, help='image file')
    parser.add_argument('--ground-truth', type=Path, help="its label file, numbered as those of the config's data set")
    parser.add_argument('--out', type=output_path,
                        help='folder for the figures (default: work_dirs/visualize/NAME OF THE IMAGE)')
    parser.add_argument('--points', nargs='+', action='extend', type=point, default=[], metavar='Y,X',
                        help='pixels whose patches to follow (default: the middle of the image)')
    parser.add_argument('--model-types', nargs='+', action='extend', metavar='TYPE',
                        help='attentions to compare, see ovseg list attentions (default: the usual five)')
    parser.add_argument('--classes', nargs='+', action='extend', default=[], metavar='NAME',
                        help='classes whose scores to show (default: the largest of the prediction)')
    parser.add_argument('--svg', action='store_true', help='write SVG files too')
    add_cfg_options(parser, 'override settings, e.g. model.slide_crop=0')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Draw the figures."""
    from ovseg.apis import OVSegInferencer
    write_figures(OVSegInferencer(args.config, cfg_options=args.cfg_options), args)
    return 0


def write_figures(inferencer: 'OVSegInferencer', args: argparse.Namespace) -> None:
    """Write all figures, and print where they are."""
    from rich.console import Console

    from ovseg.apis.image_sources import read_image
    from ovseg.components import named_errors
    from ovseg.files import write_figure
    from ovseg.visualization.explanation import MODEL_TYPES, explain, read_ground_truth
    image = read_image(args.image, inferencer.max_pixels)
    out = expanded('--out', args.out or Path('work_dirs', 'visualize', args.image.stem))
    out.mkdir(parents=True, exist_ok=True)
    inputs = inferencer.prepare(str(args.image), image)['inputs']
    ground_truth = None
    if args.ground_truth:
        with named_errors(args.config):
            ground_truth = read_ground_truth(inferencer.cfg.test_dataloader.dataset, args.ground_truth, image.shape[:2],
                                             inferencer.model.out_channels)
    figures = explain(inferencer.model, image[..., ::-1], inputs, args.points, args.model_types or MODEL_TYPES, args.classes,
                      ground_truth)
    for name, figure in figures.items():
        for suffix in ('png', 'svg') if args.svg else ('png',):
            path = out / f'{name}.{suffix}'
            write_figure(figure, path)
            Console(markup=False, emoji=False).print(quoted(path), soft_wrap=True, highlight=False)

