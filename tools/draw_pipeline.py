"""Draw the path of an image through the components of a segmentor, with the shapes of a run.

    python tools/draw_pipeline.py --figure docs/assets/pipeline.png
"""
import argparse
from pathlib import Path
from typing import List, NamedTuple

import matplotlib as mpl
import torch
from matplotlib import pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from ovseg.models import CLIPSegmentor

SIZE, CROP, STRIDE = (336, 448), 224, 112
COLOURS = dict(clip='#cfe2f3', method='#d9ead3', geometry='#fff2cc', data='#f3f3f3')


class Step(NamedTuple):
    """A call on the way of an image: the config key of its component, a description, the shape it gives, a colour."""
    key: str
    what: str
    shape: str
    colour: str


def steps_of_a_run() -> List[Step]:
    """The steps of the tiny CLIP with random weights on an image of ``SIZE`` and three classes of four names."""
    segmentor = CLIPSegmentor(
        clip=dict(name='ovseg-tiny-clip', pretrained=None), vocabulary=dict(names=['cat', 'sofa, couch', 'grass']),
        image_encoder=dict(similarity={}), post_processors=['SelfAttnEnhancement', 'OutlierSuppression', 'GlobalDebias', 'CTD'],
        upsampler=dict(type='BilinearUpsampler', scale=2), windows=dict(crop=CROP, stride=STRIDE),
        decoder=dict(with_seg_logits=True)).eval()
    image = torch.randn(3, *SIZE)
    windows = segmentor.windows.plan(SIZE, segmentor.tower.patch_size).cut(image)
    with torch.no_grad():
        tokens = segmentor.post_processors(segmentor.tokens(windows), 'tokens')
        embeddings = segmentor.post_processors(segmentor.image_encoder.project(segmentor.tower, tokens), 'embeddings')
        finer = segmentor.embed(windows)
        scores = segmentor.decoder.score_vectors(finer) @ segmentor.text_embeddings.t()
        sample, = segmentor.predict([image])
    return [
        Step('data_preprocessor', 'RGB, normalised', _shape('3, H, W', image), 'data'),
        Step('windows', 'cut, padded to whole patches', _shape('B, 3, h, w', windows), 'geometry'),
        Step('image_encoder', 'blocks of the image tower,\nanother attention in the last', _shape('B, N, D', tokens.patches),
             'method'),
        Step('post_processors', 'stage tokens: SelfAttn-\nEnhancement, OutlierSuppression', _shape('B, N, D', tokens.patches),
             'method'),
        Step('clip', "the tower's norm and projection", _shape('B, N, E', embeddings.patches), 'clip'),
        Step('post_processors', 'stage embeddings:\nGlobalDebias, CTD', _shape('B, N, E', embeddings.patches), 'method'),
        Step('upsampler', 'BilinearUpsampler: a finer grid,\n' + ' x '.join(map(str, finer.grid_size)) + ' patches',
             _shape("B, N', E", finer.patches), 'method'),
        Step('vocabulary', 'product with the text embeddings\n' + _shape('Q, E', segmentor.text_embeddings),
             _shape("B, N', Q", scores), 'clip'),
        Step('decoder', 'windows merged, resized, softmax,\nbest synonym of each class',
             _shape('K, H, W', sample.seg_logits.data), 'geometry'),
        Step('decoder', 'largest probability, thresholds', _shape('1, H, W', sample.pred_sem_seg.data), 'geometry')]


def draw(steps: List[Step], path: Path) -> None:
    """Write a figure of the steps, from top to bottom."""
    figure, axes = plt.subplots(figsize=(7.2, 0.85 * len(steps)))
    axes.set_axis_off()
    axes.set_xlim(0, 10)
    axes.set_ylim(-len(steps), 0)
    for index, step in enumerate(steps):
        top = -index - 0.85
        axes.add_patch(FancyBboxPatch((0.2, top), 6.1, 0.62, boxstyle='round,pad=0.04', facecolor=COLOURS[step.colour],
                                      edgecolor='#555555'))
        axes.text(0.4, top + 0.31, step.key, va='center', family='monospace', size=9)
        axes.text(6.1, top + 0.31, step.what, va='center', ha='right', size=8)
        axes.text(6.6, top + 0.31, step.shape, va='center', family='monospace', size=8)
        if index:
            axes.add_patch(FancyArrowPatch((3.2, top + 0.98), (3.2, top + 0.68), arrowstyle='-|>', mutation_scale=9,
                                           color='#555555'))
    figure.savefig(path, dpi=150, bbox_inches='tight')
    plt.close(figure)


def _shape(names: str, tensor: torch.Tensor) -> str:
    return f'({names}) = {tuple(tensor.shape)}'


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--figure', type=Path, default=Path('docs/assets/pipeline.png'), help='its path')
    args = parser.parse_args()
    mpl.use('agg')
    draw(steps_of_a_run(), args.figure)
    print(f'wrote {args.figure}')


if __name__ == '__main__':
    main()
