"""Segmentors that are pickled, as for a spawned process, and segmentors that are copied."""
import copy
import pickle

import pytest
import torch

from ovseg.models.dense import last_block_encoder
from ovseg.models.post_processors.outlier_detectors import DETECTORS
from ovseg.registry import ATTENTIONS

ALL_MODULES = dict(apply_similarity_enhancement=True, apply_self_attn_enhancement=True, apply_outlier_suppression=True,
                   outlier_suppression_cfg=dict(top_k=3), global_debias_factor=0.2, apply_ctd=True)
SETTINGS = [*(dict(model_type=name) for name in sorted(ATTENTIONS.module_dict)), ALL_MODULES,
            *(dict(post_processors=[dict(type='OutlierSuppression', top_k=3, detector=name)]) for name in DETECTORS),
            dict(refine=dict(type='PAMR', num_iter=2)), dict(precision='bf16')]


def pickled(model):
    return pickle.loads(pickle.dumps(model))  # noqa: S301  its own


def labels_of(segmentor, image):
    result, = segmentor.predict([image])
    return result.pred_sem_seg.data


@pytest.fixture
def compiled(monkeypatch):
    """The functions given to ``torch.compile``, which leaves them as they are."""
    functions = []
    monkeypatch.setattr(torch, 'compile', lambda function: functions.append(function) or function)
    last_block_encoder._compiled_tokens.cache_clear()
    yield functions
    last_block_encoder._compiled_tokens.cache_clear()


@pytest.mark.parametrize('cfg', SETTINGS, ids=str)
def test_a_pickled_segmentor_predicts_the_same_labels(build, cfg):
    segmentor, image = build(with_seg_logits=False, **cfg), torch.randn(3, 71, 97)
    expected = labels_of(segmentor, image)
    assert expected.unique().numel() > 1
    assert torch.equal(labels_of(pickled(segmentor), image), expected)


@pytest.mark.parametrize('duplicate', [pickled, copy.deepcopy])
@pytest.mark.parametrize('compile', [False, True])
def test_a_duplicate_has_weights_of_its_own(build, compiled, duplicate, compile):
    segmentor, image = build(compile=compile), torch.randn(3, 71, 97)
    expected = segmentor.encode_decode(image[None])
    other = duplicate(segmentor)
    with torch.no_grad():
        other.tower.visual.conv1.weight.zero_()
    assert (other.encode_decode(image[None]) - expected).abs().max() > 1e-3
    assert torch.equal(segmentor.encode_decode(image[None]), expected)
    assert len(compiled) == compile


@pytest.mark.parametrize('duplicate', [pickled, copy.deepcopy])
def test_a_duplicate_of_a_compiled_segmentor_is_compiled(build, monkeypatch, duplicate):
    segmentor, image = build(compile=True), torch.randn(3, 71, 97)
    calls = []
    monkeypatch.setattr(last_block_encoder, '_compiled_tokens',
                        lambda: lambda *args: calls.append(args[:2]) or last_block_encoder.last_block_tokens(*args))
    other = duplicate(segmentor)
    labels_of(other, image)
    assert calls and all(encoder is other.image_encoder and tower is other.tower for encoder, tower in calls)


def test_the_compiled_encoder_equals_the_plain_one(build, monkeypatch):
    compile = torch.compile
    monkeypatch.setattr(torch, 'compile', lambda function: compile(function, backend='eager'))
    last_block_encoder._compiled_tokens.cache_clear()
    image = torch.randn(3, 71, 97)
    expected = labels_of(build(), image)
    segmentor = build(compile=True)
    assert torch.equal(labels_of(segmentor, image), expected)
    other = copy.deepcopy(segmentor)
    with torch.no_grad():
        other.tower.visual.conv1.weight.zero_()
    assert not torch.equal(labels_of(other, image), expected)
    assert torch.equal(labels_of(segmentor, image), expected)
    last_block_encoder._compiled_tokens.cache_clear()
