import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ovseg.models.post_processors import GlobalDebias
from ovseg.models.post_processors.global_debias import global_debias


def plain_debias(patches, cls_token, factor, normalize_cls):
    patches, cls_token = patches.double().numpy(), cls_token.double().numpy()
    result = np.empty_like(patches)
    for b, window in enumerate(patches):
        length = math.sqrt(sum(value ** 2 for value in cls_token[b]))
        direction = [value / length if normalize_cls and length else value for value in cls_token[b]]
        for i, x in enumerate(window):
            lengths = math.sqrt(sum(value ** 2 for value in x)) * length
            cosine = sum(value * other for value, other in zip(x, cls_token[b])) / lengths if lengths else 0.0
            for c in range(len(x)):
                result[b, i, c] = x[c] - factor * cosine * direction[c]
    return torch.from_numpy(result).float()


@pytest.mark.parametrize('normalize_cls', [False, True])
@pytest.mark.parametrize('factor', [0.2, 1.0, 3.7])
def test_debiasing_equals_a_plain_one(features_of, grid, factor, normalize_cls):
    features = features_of(grid)
    expected = plain_debias(features.patches, features.cls_token, factor, normalize_cls)
    found = GlobalDebias(factor, normalize_cls)(features)
    torch.testing.assert_close(found.patches, expected)
    assert found.cls_token is features.cls_token and found.attn is features.attn and found.grid_size == features.grid_size
    assert torch.equal(found.patches, global_debias(features.patches, features.cls_token, factor, normalize_cls))


def test_literal_values():
    patches, cls_token = torch.tensor([[[0.0, 5.0], [3.0, 4.0]]]), torch.tensor([[0.0, 2.0]])
    found = global_debias(patches, cls_token, factor=0.5)
    torch.testing.assert_close(found, torch.tensor([[[0.0, 4.0], [3.0, 4 - 0.5 * 0.8 * 2]]]))
    found = global_debias(patches, cls_token, factor=0.5, normalize_cls=True)
    torch.testing.assert_close(found, torch.tensor([[[0.0, 4.5], [3.0, 4 - 0.5 * 0.8]]]))


def test_the_cls_token_keeps_its_length_by_default(features_of):
    features = features_of((2, 2))
    expected = plain_debias(features.patches, features.cls_token, 0.2, normalize_cls=False)
    torch.testing.assert_close(GlobalDebias()(features).patches, expected)
    assert not torch.allclose(expected, plain_debias(features.patches, features.cls_token, 0.2, normalize_cls=True))


@pytest.mark.parametrize('normalize_cls', [False, True])
def test_zero_vectors_are_no_problem(features_of, normalize_cls):
    features = features_of((5, 7))
    patches, cls_token = features.patches.clone(), features.cls_token.clone()
    patches[:, ::4] = 0
    cls_token[1] = 0
    found = GlobalDebias(0.9, normalize_cls)(features.replace(patches=patches, cls_token=cls_token)).patches
    torch.testing.assert_close(found, plain_debias(patches, cls_token, 0.9, normalize_cls))
    assert torch.equal(found[1], patches[1])


# ---- invariants ------------------------------------------------------------------------------------------------------

SEEDS, FACTORS = st.integers(0, 10**6), st.floats(0.01, 10)


@settings(derandomize=True, max_examples=40, deadline=None)
@given(seed=SEEDS, factor=FACTORS, normalize_cls=st.booleans())
def test_a_patch_orthogonal_to_the_cls_token_is_unchanged(features_of, seed, factor, normalize_cls):
    features = features_of((2, 3), seed=seed)
    axis = (features.cls_token / features.cls_token.norm(dim=-1, keepdim=True)).double().unsqueeze(1)
    along = (features.patches.double() * axis).sum(dim=-1, keepdim=True)
    orthogonal = (features.patches - along * axis).float()
    found = global_debias(orthogonal, features.cls_token, factor, normalize_cls)
    torch.testing.assert_close(found, orthogonal, atol=2e-5, rtol=0)
    assert not torch.allclose(global_debias(features.patches, features.cls_token, factor, normalize_cls), features.patches,
                              atol=2e-5, rtol=0)


@settings(derandomize=True, max_examples=40, deadline=None)
@given(seed=SEEDS, factor=FACTORS, normalize_cls=st.booleans())
def test_patches_on_other_axes_than_the_cls_token_keep_every_bit(features_of, seed, factor, normalize_cls):
    features = features_of((2, 3), seed=seed)
    patches, cls_token = features.patches.clone(), features.cls_token.clone()
    patches[..., :4] = 0
    cls_token[..., 4:] = 0
    assert torch.equal(global_debias(patches, cls_token, factor, normalize_cls), patches)


@settings(derandomize=True, max_examples=40, deadline=None)
@given(seed=SEEDS, factor=FACTORS, scale=st.floats(0.01, 100))
def test_scaling_the_cls_token_scales_what_is_removed(features_of, seed, factor, scale):
    features = features_of((2, 3), seed=seed)
    patches, cls_token = features.patches.double(), features.cls_token.double()
    removed, more = (patches - global_debias(features.patches, cls.float(), factor).double()
                     for cls in (cls_token, scale * cls_token))
    size = 1 + factor * max(scale, 1)
    torch.testing.assert_close(more, scale * removed, atol=1e-5 * size * max(scale, 1), rtol=1e-4)


@settings(derandomize=True, max_examples=40, deadline=None)
@given(seed=SEEDS, factor=FACTORS, scale=st.floats(0.01, 100))
def test_a_normalised_cls_token_has_no_length(features_of, seed, factor, scale):
    features = features_of((2, 3), seed=seed)
    found, scaled = (global_debias(features.patches, cls, factor, normalize_cls=True)
                     for cls in (features.cls_token, scale * features.cls_token))
    torch.testing.assert_close(scaled, found, atol=1e-5 * (1 + factor), rtol=1e-5)


@settings(derandomize=True, max_examples=30, deadline=None)
@given(seed=SEEDS, normalize_cls=st.booleans(), dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float32]))
def test_a_factor_of_zero_changes_no_bit(features_of, seed, normalize_cls, dtype):
    features = features_of((5, 3), seed=seed)
    features = features.replace(patches=features.patches.to(dtype), cls_token=features.cls_token.to(dtype))
    assert torch.equal(GlobalDebias(0, normalize_cls)(features).patches, features.patches)


# ---- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('factor', [-0.2, math.nan, 'much', None, True])
def test_bad_factors_are_refused(factor):
    with pytest.raises(ValueError, match=f'factor={factor!r} must be a number >= 0'):
        GlobalDebias(factor)
