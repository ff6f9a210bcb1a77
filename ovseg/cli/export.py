"""``ovseg export``: a model with its class names as one ONNX file."""
import argparse
import re
from typing import Tuple

from ovseg.cfg_options import add_cfg_options
from ovseg.cli.option_names import CLASS_ARGUMENTS, option_names
from ovseg.cli.predict import add_class_options
from ovseg.program import output_path
from ovseg.utils import expanded, quoted


def add_parser(commands: 'argparse._SubParsersAction[argparse.ArgumentParser]') -> None:
    """Add ``export`` to the commands."""
    parser = commands.add_parser(
        'export', help='write a model with its class names as one ONNX file',
        description='Write a model with its class names as one ONNX file, from uint8 images to label maps, and compare its '
                    'labels in onnxruntime with those of PyTorch. Needs the extra "export".',
        epilog='example: ovseg export gated_vit-b16 --classes "cat, sofa; couch, grass" --size 448x672 --out model.onnx')
    parser.add_argument('model', metavar='CONFIG', help='a config (ovseg list configs), with or without its benchmark, or the '
                                                        'path to one')
    parser.add_argument('--size', type=_size, required=True, metavar='HxW', help='height and width of the images in pixels')
    parser.add_argument('--out', type=output_path, required=True, metavar='FILE', help='the file, e.g. model.onnx')
    add_class_options(parser)
    parser.add_argument('--fp16', action='store_true',
                        help='store the weights in 16 bits, which halves the file; it computes in float32 all the same')
    add_cfg_options(parser, 'settings of the config: model.decoder.logit_scale=50 model.apply_ctd=True')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the file, and print how well its labels agree with those of PyTorch."""
    from ovseg.apis import OVSegInferencer
    from ovseg.apis.model_config import load_config
    from ovseg.apis.painting import class_colours
    from ovseg.apis.request import make_request
    from ovseg.export.onnx_file import description, write_onnx
    from ovseg.export.refusals import OPSET, check_components, check_packages, check_size, check_weights, described
    from ovseg.files import check_writable
    out = expanded('--out', args.out)
    check_packages()
    check_writable(out)
    cfg = load_config(args.model, args.weights, args.cfg_options)
    components, tower = described(cfg)
    with option_names(CLASS_ARGUMENTS):
        request = make_request(components.vocabulary, components.decoder, args.classes, args.background, args.threshold)
        request = request.with_confidence(False, args.reject)
    check_components(components._replace(decoder=request.decoder))
    check_size(args.size, components.windows, tower)
    check_weights(tower, args.fp16)
    model = OVSegInferencer(cfg, device='cpu').model.variant(vocabulary=request.vocabulary, decoder=request.decoder)
    palette = class_colours(len(request.names), args.background is not None)
    about = description(cfg, model, request, palette, args.fp16)
    report = write_onnx(model, args.size, out, args.fp16, about)
    print(f'{quoted(out)}: {report.megabytes:.1f} MB, opset {OPSET}, images of {args.size[0]}x{args.size[1]} pixels')
    print(f'labels as in PyTorch: {report.agreement:.3%} of the pixels of {len(report.shares)} drawn images, '
          f'{min(report.shares):.3%} of the image with the fewest')
    return 0


def _size(text: str) -> Tuple[int, int]:
    """Height and width of ``'HxW'``."""
    match = re.fullmatch(r'(\d{1,5})x(\d{1,5})', text)
    if match is None:
        raise argparse.ArgumentTypeError(f'{quoted(text)} must be a height and a width in pixels, e.g. 448x672')
    return int(match[1]), int(match[2])
