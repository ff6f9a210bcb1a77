"""Arrays from methods' own code (tests/data/methods), and the small CLIP and DINO that they were computed with."""
from functools import cache
from pathlib import Path

import numpy as np
import torch
from mmseg.structures import SegDataSample
from open_clip.transformer import QuickGELU, VisionTransformer

from ovseg.models.guides import TimmGuide
from ovseg.models.segmentors import CLIPSegmentor
from ovseg.models.towers import LoadedCLIP, OpenCLIPTower, load_clip

FOLDER = Path(__file__).parent / 'data' / 'methods'
CLASSES = ['a, b, c, d, e', 'f', 'g', 'h', 'i', 'j', 'k']  # as many names as the reference has
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
SIZES = ('112x112', '96x96')
ORI_SHAPE = (210, 281)
WINDOWS = dict(crop=112, stride=56)


@cache
def arrays(name):
    """The arrays of ``NAME.npz``, floats as float32."""
    with np.load(FOLDER / f'{name}.npz') as file:
        tensors = {key: torch.from_numpy(file[key]) for key in file.files}
    return {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}


@cache
def golden_clip():
    """The reference's image tower with any text tower."""
    visual = VisionTransformer(64, 16, 64, 12, 4, 4.0, output_dim=48, act_layer=QuickGELU)
    visual.load_state_dict(arrays('clip_state'))
    return LoadedCLIP(OpenCLIPTower(visual.eval()), load_clip('ovseg-tiny-clip', None).text_encoder, MEAN, STD)


def golden_dino(folder, features='tokens', **settings):
    """The config of the reference's DINO as a guide; its weights are written into ``folder``."""
    path = folder / 'dino.pth'
    torch.save(arrays('dino_state'), path)
    return dict(type=TimmGuide, model='vit_base_patch8_224.dino', pretrained=str(path), features=features,
                model_cfg=dict(img_size=64, embed_dim=48, depth=3, num_heads=3), **settings)


def golden_segmentor(queries, image_encoder, **components):
    """A segmentor of the reference's CLIP with the text embeddings of a method, ``query_features/QUERIES``."""
    segmentor = CLIPSegmentor(clip=golden_clip(), vocabulary=dict(names=CLASSES), image_encoder=image_encoder,
                              **{'windows': WINDOWS, **components})
    segmentor.text_embeddings = arrays('inputs')[f'query_features/{queries}']
    assert segmentor.class_of_text.tolist() == arrays('inputs')['query_idx'].tolist()
    return segmentor


def labels_of(segmentor, images=1):
    """Label maps ``(images, H, W)`` of copies of the reference's image, which go through the model together."""
    samples = [SegDataSample(metainfo=dict(ori_shape=ORI_SHAPE)) for _ in range(images)]
    results = segmentor.predict(arrays('inputs')['segment_image'].expand(images, -1, -1, -1), samples)
    return torch.cat([result.pred_sem_seg.data for result in results])


def assert_close_in_deviations(found, expected, tolerance=1e-4):
    """Every number differs by at most ``tolerance`` standard deviations of the expected array."""
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= tolerance * expected.std()


def assert_same_labels(found, expected, share=0.9999):
    """At least ``share`` of the pixels have the expected label; the message lists the others."""
    assert found.shape == expected.shape
    others = (found != expected).nonzero()
    assert len(others) <= (1 - share) * expected.numel(), others.tolist()[:50]
