"""``ovseg predict``: segment images by class names."""
import argparse
import contextlib
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple, Union

from ovseg.cfg_options import add_cfg_options
from ovseg.cli.option_names import CLASS_ARGUMENTS, option_names, with_options
from ovseg.program import output_path
from ovseg.resources import PACKAGE
from ovseg.utils import expanded, one_line, printable, quoted

INTERRUPTED = 130  # what shells report of a program that Ctrl-C has ended
FORMATS = ('coco', 'csv', 'geojson', 'masks', 'parquet')  # ovseg.apis.formats.FORMATS, which takes long to import
ARGUMENTS = (*CLASS_ARGUMENTS, 'bands', 'batch_size', 'bit_depth', 'device', 'max_pixels', 'model', 'nodata', 'out_dir',
             'overlap', 'tile')  # of ``OVSegInferencer``, which its errors may name
SHOWN = 20  # files that a message lists


def add_parser(commands: 'argparse._SubParsersAction[argparse.ArgumentParser]') -> None:
    """Add ``predict`` to the commands."""
    parser = commands.add_parser(
        'predict', help='segment your own images by your own class names',
        description='Segment images by class names. Writes DIR/vis/NAME.png (the image painted by its classes), '
                    'DIR/pred/NAME.png (the label map: 0 is the first class; NAME.tif for a GeoTIFF) and DIR/results.json. '
                    'Images that cannot be read are listed at the end, and the exit code is then 1.',
        epilog='example: ovseg predict cat.jpg holiday/ --classes "cat, sofa; couch, grass" --out out --model gated_vit-b16')
    parser.add_argument('images', nargs='+', metavar='IMAGE', help='a file, a folder (its images) or a URL; with --engine, see '
                        'below')
    parser.add_argument('--out', type=output_path, required=True, metavar='DIR', help='where the results go')
    parser.add_argument('--resume', action='store_true',
                        help='leave out the images whose results are in DIR; they must be of the same classes and model')
    parser.add_argument('--format', nargs='+', action='extend', default=[], choices=FORMATS, dest='formats',
                        help='write coco.json, areas.csv, geojson/NAME.geojson, masks/NAME/ID_CLASS.png or masks.parquet '
                             'into DIR, too (coco, geojson and parquet need the extra "formats")')
    parser.add_argument('--model', metavar='CONFIG',
                        help='a config (ovseg list configs), with or without its benchmark, or the path to one (default: the '
                             'tiny CLIP of the demo, which works offline and knows 16 names)')
    add_class_options(parser)
    parser.add_argument('--confidence', type=int, choices=(8, 16), default=0, metavar='BITS',
                        help='write DIR/confidence/NAME.png and DIR/margin/NAME.png: the probability of the best class and its '
                             'margin to the second, as grey images of 8 or 16 bits')
    parser.add_argument('--device', help='where to compute: cpu, cuda, cuda:1, ... (default: the GPU, if any)')
    parser.add_argument('--batch-size', type=int, default=1, metavar='N', help='images or tiles per forward pass (default: 1)')
    parser.add_argument('--max-pixels', type=int, default=80_000_000, metavar='N',
                        help='largest image, but for TIFF files (default: %(default)s); a pixel takes some 25 bytes of memory')
    _add_tiff_options(parser)
    _add_ray_options(parser)
    add_cfg_options(parser, 'settings of the config: model.image_encoder.precision=fp16 model.apply_ctd=True')
    parser.add_argument('--json', action='store_true', help='print one JSON document: results.json with the paths written')
    parser.set_defaults(run=run)


def add_class_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a command that builds a model for class names: the names, CLIP's weights and the thresholds."""
    parser.add_argument('--classes', type=class_names, metavar='NAMES',
                        help='classes separated by commas, synonyms of a class by semicolons: "cat, sofa; couch, grass"; or a '
                             'bundled list (ovseg list class-lists); or a text file that ends with .txt, one class per line '
                             '(default: those of the config)')
    parser.add_argument('--weights', help="CLIP weights in place of the config's: a tag of open_clip, a file or a folder")
    parser.add_argument('--background', metavar='NAMES', help='names for what is none of the classes: "wall, sky"; or auto, '
                        'which chooses 64 of the names in all class lists; class 0')
    parser.add_argument('--threshold', type=float, metavar='P',
                        help='pixels whose best class has a probability under it become background')
    parser.add_argument('--reject', type=float, metavar='P',
                        help='pixels whose best class has a probability under it get no class: 255 in the label maps (65535 '
                             'for more than 255 classes)')


def _add_tiff_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('TIFF files', 'A GeoTIFF, or a TIFF of more than --max-pixels, is cut into tiles, each '
                                      'of which is segmented as one image (needs the extra "geo").')
    group.add_argument('--tile', type=int, default=1024, metavar='N', help='side of a tile in pixels (default: %(default)s)')
    group.add_argument('--overlap', type=int, default=128, metavar='N',
                       help='pixels that neighbouring tiles share (default: %(default)s)')
    group.add_argument('--bands', type=int, nargs='+', action='extend', metavar='N',
                       help='the bands for red, green and blue, or the one for grey, counted from 1 (default: those that the '
                            'file names, or the first three)')
    group.add_argument('--bit-depth', type=int, metavar='BITS',
                       help='bits of the values in images of more than 8, also in other files (default: their range is scaled)')
    group.add_argument('--nodata', type=float, metavar='VALUE',
                       help='a pixel that has this value in all bands has no data (default: those of which the file says so)')


def _add_ray_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        'large collections', 'With --engine ray, workers on one or several machines share the work (needs the extra "ray"). '
        'An IMAGE may then also be a pattern ("photos/**/*.jpg"), a text file (.txt) with one path per line, a Parquet file '
        'with a column of paths, a tar file of images (a shard of WebDataset), or the address of one of these in a store that '
        'fsspec knows (s3://...).')
    group.add_argument('--engine', choices=('ray',), help='what runs the workers (default: none, this process does the work)')
    group.add_argument('--address', metavar='HOST:PORT', help='of the head of a cluster of Ray; auto for the one that this '
                       'machine belongs to (default: Ray is started on this machine, for this run)')
    group.add_argument('--cpus-per-worker', type=int, metavar='N', help='CPUs of a worker, each of which loads the model '
                       '(default: 4, or all of the largest machine, if that has fewer); with GPUs, there is a worker per GPU')


def run(args: argparse.Namespace) -> int:
    """Segment the images; only results go to the standard output."""
    from ovseg.apis.result_folder import RESULTS
    out = expanded('--out', args.out)
    if args.engine is None and (args.address is not None or args.cpus_per_worker is not None):
        args.error('--address and --cpus-per-worker need --engine ray')
    undefined: List[int] = []  # pixels of each image that has some
    failed: List[str] = []
    left_out: List[str] = []
    count, before = 0, _stamp(out / RESULTS)
    try:
        with contextlib.redirect_stdout(sys.stderr), _pillow_without_limit(), option_names(  # the logger uses stdout
                ARGUMENTS, [quoted(name) for name in (*args.images, out)]):
            segment = _segment if args.engine is None else _segment_on_ray
            for pixels in segment(args, out, lambda source, error: failed.append(_line(source, error)), left_out):
                count += 1
                if pixels:
                    undefined.append(pixels)
    except KeyboardInterrupt:
        print(f'ovseg: interrupted; what is finished is in {quoted(out)}', file=sys.stderr)
        return INTERRUPTED
    if _stamp(out / RESULTS) != before:  # a run without results leaves those of another run
        _print_results(json.loads((out / RESULTS).read_text(encoding='utf-8')), out, count, args.json)
    _print_problems(failed, undefined, [quoted(path) for path in left_out])
    return 1 if failed else 0


def _stamp(path: Path) -> Optional[List[int]]:
    """``file_stamp``, or None where there is no file."""
    from ovseg.files import file_stamp
    return file_stamp(path) if path.is_file() else None


def _segment(args: argparse.Namespace, out: Path, on_error: Callable[[str, Exception], None],
             left_out: List[str]) -> Iterator[int]:
    """Segment the images in this process, and yield the number of pixels without a class of each."""
    from ovseg.apis import OVSegInferencer
    from ovseg.apis.image_sources import other_files
    inferencer = OVSegInferencer(args.model, args.weights, args.device, cfg_options=args.cfg_options,
                                 max_pixels=args.max_pixels)
    for segmentation in inferencer.stream(
            args.images, args.classes, background=args.background, threshold=args.threshold, batch_size=args.batch_size,
            out_dir=out, formats=args.formats, resume=args.resume, allow_nonfinite=True, on_error=on_error, tile=args.tile,
            overlap=args.overlap, bands=args.bands, bit_depth=args.bit_depth, nodata=args.nodata,
            confidence=args.confidence, reject=args.reject):
        yield segmentation.undefined
    left_out.extend(map(str, other_files(args.images)))


def _segment_on_ray(args: argparse.Namespace, out: Path, on_error: Callable[[str, Exception], None],
                    left_out: List[str]) -> Iterator[int]:
    """``_segment`` by workers of Ray."""
    from ovseg.apis import OVSegInferencer
    from ovseg.apis.reading import Reading
    from ovseg.corpus.run import Cluster, Model, Output, label_images
    reading = Reading(args.tile, args.overlap, args.bands, args.bit_depth, args.nodata)
    model = Model(
        lambda: OVSegInferencer(args.model, args.weights, 'cpu', cfg_options=args.cfg_options, max_pixels=args.max_pixels),
        lambda inferencer: inferencer.call(args.classes, args.background, args.threshold, args.batch_size, True, reading,
                                           args.confidence, args.reject))
    for entry in label_images(args.images, model, Output(out, args.formats, args.resume, on_error, left_out),
                              Cluster(args.address, args.device, args.cpus_per_worker)):
        yield entry.get('undefined_pixels', 0)


def class_names(text: str) -> Union[str, List[str]]:
    """A bundled list or a text file unchanged; class names as a list with one string per class."""
    bundled = {path.stem for path in (PACKAGE / 'vocabulary' / 'resources').glob('*.txt')}
    return text if text in bundled or Path(text).suffix == '.txt' else text.split(',')


@contextlib.contextmanager
def _pillow_without_limit() -> Iterator[None]:
    """Pillow's own limit of pixels off, so that ``--max-pixels`` is the one that counts."""
    from PIL import Image
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _line(source: str, error: Exception) -> str:
    """The error of an image in a line that names it, and the options of this command."""
    name, text = quoted(source), one_line(error)
    text = text if name in text else f'{name}: {text}'
    return with_options(text, ARGUMENTS, [name])


def _print_results(document: Dict[str, Any], out: Path, count: int, as_json: bool) -> None:
    """Print ``results.json`` with the paths of each image's files; or the areas of one image, or of all of them together."""
    from rich.console import Console

    from ovseg.tables import terminal_table
    console = Console(file=sys.stdout, markup=False, emoji=False, highlight=False)
    images = document['images']
    for image in images:
        image['files'] = {kind: str(out / path) for kind, path in image['files'].items()}
    if as_json:
        console.print_json(data=document, ensure_ascii=True)
        return
    if len(images) == count == 1:
        areas = sorted(images[0]['areas'].items(), key=lambda item: -item[1]['pixels'])
        shares = [(name, f'{area["share"]:.1%}') for name, area in areas if area['pixels']]
        console.print(terminal_table(['class', 'area'], shares, quoted(images[0]['name']), numbers=1))
        for path in images[0]['files'].values():
            console.print(quoted(path), soft_wrap=True)
    elif images:
        console.print(terminal_table(['class', 'area', 'images'], _total_areas(images), numbers=2))
        done = f' ({len(images) - count} were there already)' if len(images) > count else ''
        console.print(f'{len(images)} images{done} in {quoted(out)}: vis, pred, results.json', soft_wrap=True)
    for place in document['formats'].values():  # of several files the folder
        console.print(quoted(out / Path(place).parts[0]), soft_wrap=True)


def _total_areas(images: Sequence[Dict[str, Any]]) -> List[Tuple[str, str, str]]:
    """Of each class that occurs its share of the pixels with data of all images, and the number of images in which it occurs.

    Pixels without a class count in the total, as they do in the shares of one image.
    """
    pixels: Counter = Counter()
    occurs: Counter = Counter()
    for image in images:
        for name, area in image['areas'].items():
            pixels[name] += area['pixels']
            occurs[name] += area['pixels'] > 0
    total = sum(image['size'][0] * image['size'][1] - image.get('nodata_pixels', 0) for image in images)
    return [(name, f'{count / total:.1%}', str(occurs[name])) for name, count in pixels.most_common() if count]


def _print_problems(failed: List[str], undefined: List[int], others: List[str]) -> None:
    """Say on the standard error what has no results, and which pixels have no class."""
    if others:
        more = f', and {len(others) - SHOWN} more' if len(others) > SHOWN else ''
        print(f'ovseg: {len(others)} files or sub-folders were left out, because their names are not those of images: '
              f'{", ".join(others[:SHOWN])}{more}', file=sys.stderr)
    if undefined:
        print(f'ovseg: warning: {sum(undefined)} pixels of {len(undefined)} images have no class, because their scores are not '
              'finite (NaN or Inf). They are 255 in the label maps (65535 for more than 255 classes) and not painted',
              file=sys.stderr)
    if failed:
        images = 'image has' if len(failed) == 1 else 'images have'
        print(f'ovseg: error: {len(failed)} {images} no results, or not all of them:', file=sys.stderr)
        for line in failed:
            print(f'  {printable(line)}', file=sys.stderr)
