import logging
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.logging import MMLogger

from ovseg.models.post_processors import SelfAttnEnhancement
from ovseg.models.post_processors.self_attn_enhancement import enhance_attention, enhance_features, self_attention_gain

SETTINGS = [(0.1, 0.15), (0.7, 0.15), (1.9, 0.6), (0.3, 0.0), (0.3, 1.0)]


def plain_gain(attn, strength, threshold):
    return np.array([[strength * max(0.0, threshold - attn[b, i, i]) for i in range(1, attn.shape[1])]
                     for b in range(len(attn))])


def plain_enhancement(features, strength, threshold, mode):
    patches, cls_token, attn = (x.double().numpy() for x in (features.patches, features.cls_token, features.attn))
    gain = plain_gain(attn, strength, threshold)
    result = np.empty_like(patches)
    for b in range(patches.shape[0]):
        tokens = [cls_token[b], *patches[b]]
        for i in range(patches.shape[1]):
            if mode == 'feature':
                result[b, i] = (1 + gain[b, i]) * patches[b, i]
                continue
            row = [attn[b, i + 1, j] + (gain[b, i] if j == i + 1 else 0) for j in range(len(tokens))]
            result[b, i] = sum(row[j] / sum(row) * tokens[j] for j in range(len(tokens)))
    return torch.from_numpy(result).float()


@pytest.mark.parametrize('mode', ['feature', 'attention'])
@pytest.mark.parametrize(('strength', 'threshold'), SETTINGS)
def test_enhancement_equals_a_plain_one(features_of, grid, strength, threshold, mode):
    features = features_of(grid)
    found = SelfAttnEnhancement(strength, threshold, mode)(features)
    torch.testing.assert_close(found.patches, plain_enhancement(features, strength, threshold, mode))
    assert found.cls_token is features.cls_token
    assert found.attn is features.attn
    assert found.grid_size == features.grid_size


@pytest.mark.parametrize('mode', ['feature', 'attention'])
def test_rows_that_do_not_sum_to_one_are_renormalised(features_of, mode):
    features = features_of((5, 7))
    features = features.replace(attn=features.attn * (1 + torch.rand(3, 36, 1)))
    found = SelfAttnEnhancement(0.9, 0.4, mode)(features)
    torch.testing.assert_close(found.patches, plain_enhancement(features, 0.9, 0.4, mode))


def test_literal_values():
    attn = torch.tensor([[[0.2, 0.4, 0.4], [0.5, 0.1, 0.4], [0.3, 0.1, 0.6]]])
    gain = self_attention_gain(attn, strength=2.0, threshold=0.35)
    torch.testing.assert_close(gain, torch.tensor([[0.5, 0.0]]))
    patches, cls_token = torch.tensor([[[4.0, 8.0], [3.0, 5.0]]]), torch.tensor([[1.0, 7.0]])
    torch.testing.assert_close(enhance_features(patches, gain), torch.tensor([[[6.0, 12.0], [3.0, 5.0]]]))
    first = [(0.5 * 1 + 0.6 * 4 + 0.4 * 3) / 1.5, (0.5 * 7 + 0.6 * 8 + 0.4 * 5) / 1.5]
    second = [0.3 * 1 + 0.1 * 4 + 0.6 * 3, 0.3 * 7 + 0.1 * 8 + 0.6 * 5]
    torch.testing.assert_close(enhance_attention(patches, cls_token, attn, gain), torch.tensor([[first, second]]))


def test_the_module_equals_its_functions(features_of):
    features = features_of((5, 7))
    gain = self_attention_gain(features.attn, 0.3, 0.4)
    feature, attention = (SelfAttnEnhancement(0.3, 0.4, mode)(features).patches for mode in ('feature', 'attention'))
    assert torch.equal(feature, enhance_features(features.patches, gain))
    assert torch.equal(attention, enhance_attention(features.patches, features.cls_token, features.attn, gain))


def test_defaults_are_the_documented_ones(features_of):
    features = features_of((9, 4))
    expected = plain_enhancement(features, 0.1, 0.15, 'feature')
    torch.testing.assert_close(SelfAttnEnhancement()(features).patches, expected)
    assert not torch.allclose(expected, features.patches)


def test_patches_at_or_over_the_threshold_keep_their_length(features_of):
    features = features_of((5, 7))
    found = SelfAttnEnhancement(0.5, 0.2)(features).patches
    under = features.attn.diagonal(dim1=1, dim2=2)[:, 1:] < 0.2
    assert 0 < under.sum() < under.numel()
    assert torch.equal(found[~under], features.patches[~under])
    assert (found[under].norm(dim=-1) > features.patches[under].norm(dim=-1)).all()


@pytest.mark.parametrize('mode', ['feature', 'attention'])
def test_zero_vectors_are_no_problem(features_of, mode):
    features = features_of((5, 7))
    patches = features.patches.clone()
    patches[:, ::3] = 0
    features = features.replace(patches=patches, cls_token=torch.zeros(3, 11))
    torch.testing.assert_close(SelfAttnEnhancement(0.4, 0.5, mode)(features).patches,
                               plain_enhancement(features, 0.4, 0.5, mode))


@settings(derandomize=True, max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), height=st.integers(1, 6), width=st.integers(1, 6), threshold=st.floats(0, 1),
       mode=st.sampled_from(['feature', 'attention']))
def test_a_strength_of_zero_changes_no_bit(features_of, seed, height, width, threshold, mode):
    features = features_of((height, width), seed=seed)
    assert torch.equal(SelfAttnEnhancement(0, threshold, mode)(features).patches, features.patches)


@settings(derandomize=True, max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), height=st.integers(1, 6), width=st.integers(1, 6), strength=st.floats(0, 5))
def test_feature_mode_keeps_directions(features_of, seed, height, width, strength):
    features = features_of((height, width), seed=seed)
    found = SelfAttnEnhancement(strength, 0.9)(features).patches
    cosine = torch.nn.functional.cosine_similarity(found.double(), features.patches.double(), dim=-1)
    torch.testing.assert_close(cosine, torch.ones_like(cosine), atol=1e-6, rtol=0)


# ---- statistics and the log ------------------------------------------------------------------------------------------


def test_statistics_of_the_patches_diagonal():
    attn = torch.full((2, 4, 4), 0.99)
    values = [[0.10, 0.20, 0.05], [0.15, 0.40, 0.30]]
    for b in range(2):
        for i in range(3):
            attn[b, i + 1, i + 1] = values[b][i]
    flat = [value for row in values for value in row]
    mean = sum(flat) / 6
    expected = dict(mean=mean, std=math.sqrt(sum((value - mean) ** 2 for value in flat) / 6), min=0.05, max=0.40,
                    below_threshold=3 / 6)
    found = SelfAttnEnhancement(min_self_attn_threshold=0.18).get_self_attention_stats(attn)
    assert found == pytest.approx(expected, abs=1e-6)
    assert all(type(value) is float for value in found.values())


def test_statistics_of_one_patch_are_numbers():
    attn = torch.tensor([[[0.5, 0.5], [0.7, 0.3]]])
    found = SelfAttnEnhancement().get_self_attention_stats(attn)
    assert found == pytest.approx(dict(mean=0.3, std=0, min=0.3, max=0.3, below_threshold=0), abs=1e-6)


def test_statistics_of_half_precision_attention(features_of):
    attn = features_of((5, 7)).attn.half()
    diagonal = [attn[b, i, i].item() for b in range(3) for i in range(1, 36)]
    found = SelfAttnEnhancement().get_self_attention_stats(attn)
    assert found['mean'] == pytest.approx(sum(diagonal) / len(diagonal), rel=1e-5)
    assert found['below_threshold'] == pytest.approx(sum(value < 0.15 for value in diagonal) / len(diagonal))


def test_construction_is_logged_by_mmengine():
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    try:
        SelfAttnEnhancement()
        SelfAttnEnhancement(0.7, 0.25, 'attention')
    finally:
        logger.removeHandler(handler)
    assert [record.getMessage() for record in records] == [
        '[Self-Attention Enhancement] Enabled with strength=0.1, threshold=0.15, mode=feature',
        '[Self-Attention Enhancement] Enabled with strength=0.7, threshold=0.25, mode=attention']
    assert {record.levelno for record in records} == {logging.INFO}


# ---- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(('cfg', 'texts'), [
    (dict(mode='features'), ("mode='features'", 'feature, attention')),
    (dict(mode=None), ('mode=None', 'feature, attention')),
    (dict(enhancement_strength=-0.1), ('enhancement_strength=-0.1', '>= 0')),
    (dict(enhancement_strength=math.nan), ('enhancement_strength=nan', '>= 0')),
    (dict(enhancement_strength='0.1'), ("enhancement_strength='0.1'", 'number')),
    (dict(min_self_attn_threshold=-0.15), ('min_self_attn_threshold=-0.15', '[0, 1]')),
    (dict(min_self_attn_threshold=math.nan), ('min_self_attn_threshold=nan', '[0, 1]')),
], ids=str)
def test_bad_settings_are_refused(cfg, texts):
    with pytest.raises(ValueError) as caught:
        SelfAttnEnhancement(**cfg)
    assert all(text in str(caught.value) for text in texts), str(caught.value)


@pytest.mark.parametrize('strength', [0, 0.1])
def test_features_without_attention_are_refused(features_of, strength):
    with pytest.raises(ValueError, match='SelfAttnEnhancement needs the attention of the encoder'):
        SelfAttnEnhancement(strength)(features_of((2, 2)).replace(attn=None))
