"""Presets give the labels of the peers' own code, on the ViT that the reference arrays were computed with.

Labels exist for NACLIP and unmodified CLIP. Those of the other presets are made, by a plain loop, of the peers' features.
Arrays that are nobody's preset are left out: NACLIP's ablations (``kk``, ``reduced-vanilla``, ``vanilla-naclip``), and what
SegEarth-OV's code computes with the residual switch the other way.
"""
import re

import numpy as np
import pytest
import torch
from mmseg.structures import SegDataSample
from open_clip.transformer import QuickGELU, VisionTransformer
from torch.nn import functional as F

CLASSES = ['a, b, c', 'd', 'e; f', 'g', 'h', 'i', 'j, k']  # as many synonyms as the reference has
LAMBDA = -0.3


@pytest.fixture(scope='module')
def goldens(goldens_dir):
    return {name: {key: torch.from_numpy(value) for key, value in np.load(goldens_dir / f'{name}.npz').items()}
            for name in ('vit_state', 'inputs', 'expected')}


@pytest.fixture
def preset(goldens, model_of, build):
    """The segmentor of a config with the reference's ViT and text embeddings."""
    def build_preset(name, **switches):
        visual = VisionTransformer(64, 16, 128, 4, 2, 4.0, output_dim=64, act_layer=QuickGELU)
        visual.load_state_dict(goldens['vit_state'])
        segmentor = build(model_of(name, name_path=CLASSES, **switches), visual)
        segmentor.text_embeddings = goldens['inputs']['query_features']
        assert segmentor.class_of_text.tolist() == goldens['inputs']['query_idx'].tolist()
        return segmentor
    return build_preset


def equal_share(found, expected):
    assert found.shape == expected.shape
    return (found == expected).double().mean()


@pytest.mark.parametrize('threshold', [0.0, 0.3])
@pytest.mark.parametrize(('crop', 'stride'), [(64, 32), (0, 0)])
@pytest.mark.parametrize(('name', 'reference'), [
    ('naclip/naclip_vit-b16_voc21.py', 'reduced-naclip'), ('clip/clip_vit-b16_voc21.py', 'vanilla-vanilla')])
def test_labels_are_those_of_the_published_code(goldens, preset, name, reference, crop, stride, threshold):
    segmentor = preset(name, slide_crop=crop, slide_stride=stride, prob_thd=threshold)
    inputs = goldens['inputs']
    sample = SegDataSample(metainfo=dict(ori_shape=tuple(inputs['segment_ori_shape'].tolist())))
    result, = segmentor.predict(inputs['segment_image'], [sample])
    expected = goldens['expected'][f'segment/naclip-repo/{reference}/crop{crop}-stride{stride}-thd{threshold}/pred']
    assert equal_share(result.pred_sem_seg.data, expected) >= 0.9999


def labels_of_features(patches, size, goldens, logit_scale, prob_thd, cls_token=None):
    """Labels ``(height, width)`` of one whole image from embeddings ``(N, E)`` on a grid of 16-pixel patches."""
    queries, query_idx = goldens['inputs']['query_features'], goldens['inputs']['query_idx']
    scores = F.normalize(patches, dim=-1) @ queries.t()
    if cls_token is not None:
        scores = scores + LAMBDA * F.normalize(cls_token, dim=-1) @ queries.t()
    grid = scores.t().reshape(1, len(queries), size[0] // 16, size[1] // 16)
    dense = F.interpolate(grid, size=size, mode='bilinear', align_corners=False)[0]
    probabilities = (dense * logit_scale).softmax(0)
    classes = torch.stack([probabilities[query_idx == k].amax(0) for k in range(7)])
    best, labels = classes.max(0)
    labels[best < prob_thd] = 0
    return labels


@pytest.mark.parametrize(('method', 'reference'), [
    ('clip', 'naclip-repo/vanilla-vanilla'), ('clip', 'segearth-repo/vanilla-residual'),
    ('maskclip', 'segearth-repo/MaskCLIP-residual'), ('sclip', 'naclip-repo/vanilla-csa'),
    ('sclip', 'segearth-repo/SCLIP-residual'), ('clearclip', 'segearth-repo/ClearCLIP-noresidual'),
    ('naclip', 'naclip-repo/reduced-naclip'), ('segearth_ov', 'segearth-repo/SegEarth-noresidual')])
def test_labels_are_those_of_the_published_features(goldens, preset, method, reference):
    name = f'{method}/{method}_vit-b16_context60.py'
    segmentor = preset(name)
    numbers = {key: getattr(segmentor.decoder, key) for key in ('logit_scale', 'prob_thd')}
    found, expected = [], []
    for key, images in goldens['inputs'].items():
        if not key.startswith('image/'):
            continue
        size = tuple(map(int, re.findall(r'\d+', key)))
        features = goldens['expected'][f'features/{reference}/{size[0]}x{size[1]}']
        patches = features[:, 1:] if 'naclip-repo' in reference else features
        cls_tokens = goldens['expected'][f'cls/{reference}/{size[0]}x{size[1]}'] if method == 'segearth_ov' else [None] * 2
        for image, sample, cls_token in zip(patches, segmentor.predict(images), cls_tokens):
            found.append(sample.pred_sem_seg.data.flatten())
            expected.append(labels_of_features(image, size, goldens, cls_token=cls_token, **numbers).flatten())
    assert len(found) == 6
    assert len(torch.cat(expected).unique()) > 1  # or there would be nothing to get wrong
    assert equal_share(torch.cat(found), torch.cat(expected)) >= 0.9999
