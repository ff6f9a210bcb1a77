"""The network that is exported, in PyTorch, against ``CLIPSegmentor.predict``."""
import numpy as np
import pytest
import torch

from ovseg.demo.scenes import draw_scene
from ovseg.demo.textures import CLASSES
from ovseg.export.network import LabelNetwork

CHAIN = ['SelfAttnEnhancement', 'OutlierSuppression', dict(type='GlobalDebias', factor=0.2), 'CTD']
SYNONYMS = dict(names=['; '.join(CLASSES[index:index + 2]) for index in range(0, len(CLASSES), 2)], templates='plain')
SIZE = (229, 241)
SETTINGS = {
    'windows': dict(),
    'the whole image': dict(windows=dict(crop=0)),
    'dropped borders': dict(windows=dict(crop=101, stride=67, pad_mode='none')),
    'padding': dict(windows=dict(crop=101, stride=67)),
    'all modules': dict(post_processors=CHAIN),
    'CTD of cosines': dict(post_processors=[dict(type='CTD', metric='cosine', eps=0.6, min_samples=5)]),
    'other outliers': dict(post_processors=[dict(type='OutlierSuppression', detector='lof', top_k=7)]),
    'the CLS token': dict(image_encoder=dict(attention='SegEarth', cls_source='last_block'),
                          decoder=dict(cls_token_lambda=-0.3)),
    'NACLIP': dict(image_encoder=dict(attention='NACLIP')),
    'ResCLIP': dict(image_encoder=dict(type='ResCLIPEncoder', rcs_layers=(2, 3), sfr_weights=None)),
    'SC-CLIP': dict(image_encoder=dict(type='SCCLIPEncoder', pre_layer=3, post_layer=2, levels=(2, 3))),
    'synonyms': dict(vocabulary=SYNONYMS),
    'thresholds': dict(vocabulary=SYNONYMS, decoder=dict(prob_thd=0.7, bg_idx=2, reject=0.5)),
    'a finer grid': dict(upsampler=dict(type='BilinearUpsampler', scale=2)),
    'strips of rows': dict(vocabulary=SYNONYMS, decoder=dict(memory_mb=0.1))}


def predicted(model, images):
    inputs = [torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1) for image in images]
    return torch.stack([sample.pred_sem_seg.data[0] for sample in model.test_step(dict(inputs=inputs))])


@pytest.mark.parametrize('settings', SETTINGS.values(), ids=SETTINGS)
def test_labels_are_those_of_predict(settings, tiny):
    model = tiny(**settings)
    images = np.stack([draw_scene(np.random.default_rng(seed), *SIZE).image for seed in range(2)])
    with torch.no_grad():
        labels, expected = LabelNetwork(model, SIZE)(torch.from_numpy(images)), predicted(model, images)
    assert labels.dtype == torch.uint8 and labels.shape == (2, *SIZE)
    assert (labels == expected).float().mean() > 0.9999
    assert len(expected.unique()) > 2


def test_labels_of_many_classes_are_wider(tiny):
    model = tiny(vocabulary=dict(names=[f'thing {index}' for index in range(256)], templates='plain'), decoder=dict(reject=1))
    with torch.no_grad():
        labels = LabelNetwork(model, (224, 224))(torch.zeros(1, 224, 224, 3, dtype=torch.uint8))
    assert labels.dtype == torch.int32 and (labels == 65535).all()
