import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ovseg.models.attention import similarity_map

B, N, D = 2, 11, 7


def reference(features, temperature=1.0, add_self_similarity=True):
    features = features.double().numpy()
    similarity = np.zeros((len(features), features.shape[1], features.shape[1]))
    for b, i, j in np.ndindex(*similarity.shape):
        x, y = features[b, i], features[b, j]
        norms = np.sqrt(sum(x * x)) * np.sqrt(sum(y * y))
        if norms > 0 and (i != j or add_self_similarity):
            similarity[b, i, j] = sum(x * y) / norms / temperature
    return similarity


@pytest.mark.parametrize('add_self_similarity', [True, False])
@pytest.mark.parametrize('temperature', [0.13, 1.0, 7.0])
def test_equals_the_loop_reference(temperature, add_self_similarity):
    features = torch.randn(B, N, D) * torch.rand(B, N, 1) * 5
    got = similarity_map(features, temperature, add_self_similarity)
    np.testing.assert_allclose(got, reference(features, temperature, add_self_similarity), rtol=1e-5, atol=1e-6)


def test_defaults_are_temperature_1_with_the_diagonal():
    features = torch.randn(B, N, D)
    np.testing.assert_allclose(similarity_map(features), reference(features), atol=1e-6)


def test_zero_vectors_are_similar_to_nothing():
    features = torch.randn(B, N, D)
    features[1, 3] = 0
    got = similarity_map(features)
    assert (got[1, 3] == 0).all() and (got[1, :, 3] == 0).all()
    np.testing.assert_allclose(got, reference(features), atol=1e-6)


@pytest.mark.parametrize('temperature', [0, -0.5, float('nan')])
def test_refuses_a_temperature_that_is_not_positive(temperature):
    with pytest.raises(ValueError, match=r'temperature=.* must be a positive number'):
        similarity_map(torch.randn(B, N, D), temperature)


@pytest.mark.parametrize('add_self_similarity', [True, False])
def test_input_is_not_written_to(add_self_similarity):
    features = torch.randn(B, N, D)
    before = features.clone()
    similarity_map(features, 0.5, add_self_similarity)
    assert torch.equal(features, before)


def test_input_may_be_non_contiguous():
    features = torch.randn(D, N, B).permute(2, 1, 0)
    np.testing.assert_allclose(similarity_map(features), reference(features), atol=1e-6)


@pytest.mark.parametrize(('dtype', 'atol'), [(torch.float16, 6e-4), (torch.bfloat16, 5e-3), (torch.float32, 1e-6)])
def test_dtype_is_kept_and_norms_do_not_overflow(dtype, atol):
    features = (torch.randn(B, N, D) * 300).to(dtype)
    got = similarity_map(features)
    assert got.dtype == dtype
    np.testing.assert_allclose(got.float(), reference(features), atol=atol)


def test_a_single_patch():
    assert similarity_map(torch.randn(B, 1, D)).flatten().tolist() == pytest.approx([1, 1])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.floats(-1e4, 1e4, width=32), min_size=3, max_size=3), min_size=1, max_size=5))
def test_any_features_give_a_symmetric_map_within_one(rows):
    got = similarity_map(torch.tensor([rows]))
    assert got.isfinite().all() and got.abs().max() <= 1 + 1e-5
    torch.testing.assert_close(got, got.transpose(1, 2))
