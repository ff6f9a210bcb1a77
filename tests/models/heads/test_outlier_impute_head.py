import math

import numpy as np
import pytest
import torch
from mmseg.registry import MODELS

from ovseg.models.heads import OutlierImputeHead
from ovseg.models.heads.outlier_impute_head import impute_outliers


def plain_imputation(embeddings, n, top_k):
    """Versions of a sample next to each other."""
    versions = []
    for sample in embeddings.double().numpy():
        mean = sum(sample) / len(sample)
        deviation = [math.sqrt(sum((token - mean) ** 2)) for token in sample]
        marked = sorted(range(len(sample)), key=lambda t: -deviation[t])[:top_k]
        for step in range(n):
            alpha = step / (n - 1) if n > 1 else 0.0
            versions.append([token - (token - mean) * alpha if t in marked else token for t, token in enumerate(sample)])
    return torch.tensor(np.array(versions)).float()


def plain_logits(head, embeddings):
    """Mean pooling and the MLP, by hand."""
    first, _, second = head.mlp
    logits = []
    for sample in embeddings:
        hidden = first.weight @ (sum(sample) / len(sample)) + first.bias
        hidden = 0.5 * hidden * (1 + torch.erf(hidden / math.sqrt(2)))
        logits.append(second.weight @ hidden + second.bias)
    return torch.stack(logits)


def head(**cfg):
    return OutlierImputeHead(**{**dict(d=11, num_classes=5), **cfg})


@pytest.mark.parametrize('tokens', [1, 3, 13])
@pytest.mark.parametrize('n', [1, 2, 3, 7])
@pytest.mark.parametrize('top_k', [1, 2, 13, 17])
def test_imputation_equals_a_plain_one(tokens, n, top_k):
    embeddings = torch.randn(3, tokens, 11)
    torch.testing.assert_close(impute_outliers(embeddings, n, top_k), plain_imputation(embeddings, n, top_k))


@pytest.mark.parametrize(('n', 'top_k'), [(1, 1), (2, 1), (4, 3), (4, 29)])
def test_training_equals_a_plain_head_on_plain_versions(n, top_k):
    module, embeddings = head(n=n, top_k=top_k).train(), torch.randn(3, 13, 11)
    found = module(embeddings)
    assert found.shape == (3 * n, 5)
    torch.testing.assert_close(found, plain_logits(module, plain_imputation(embeddings, n, top_k)), atol=1e-5, rtol=1e-4)


def test_literal_values():
    embeddings = torch.tensor([[[0.0, 0.0], [0.0, 3.0], [0.0, 0.0]]])
    expected = [[[0.0, 0.0], [0.0, y], [0.0, 0.0]] for y in (3.0, 2.0, 1.0)]
    torch.testing.assert_close(impute_outliers(embeddings, 3), torch.tensor(expected))


def test_versions_of_a_sample_stand_next_to_each_other():
    module, embeddings = head(n=4), torch.randn(3, 13, 11)
    found = module(embeddings)
    for index in range(3):
        torch.testing.assert_close(found[4 * index:4 * index + 4], module(embeddings[index:index + 1]))
    labels = torch.arange(3).repeat_interleave(4)
    first = module.eval()(embeddings)
    torch.testing.assert_close(found[::4], first)  # alpha = 0 is the sample itself
    assert labels[::4].tolist() == [0, 1, 2]


def test_one_version_equals_the_plain_head():
    module, embeddings = head(n=1).train(), torch.randn(3, 13, 11)
    expected = plain_logits(module, embeddings)
    torch.testing.assert_close(module(embeddings), expected)
    torch.testing.assert_close(module.eval()(embeddings), expected)


def test_evaluation_detects_nothing(monkeypatch):
    module, embeddings = head(n=4).eval(), torch.randn(3, 13, 11)
    monkeypatch.setattr('ovseg.models.heads.outlier_impute_head.impute_outliers', None)
    found = module(embeddings)
    assert found.shape == (3, 5)
    torch.testing.assert_close(found, plain_logits(module, embeddings))


def test_without_training_only_evaluation_imputes_too():
    module, embeddings = head(n=4, training_only=False), torch.randn(3, 13, 11)
    expected = module.train()(embeddings)
    assert expected.shape == (12, 5)
    assert torch.equal(module.eval()(embeddings), expected)


def test_imputation_changes_logits():
    module, embeddings = head(n=2), torch.randn(3, 13, 11)
    plain, imputed = module(embeddings).view(3, 2, 5).unbind(1)
    assert (plain - imputed).abs().amax(1).min() > 1e-4


def test_defaults_are_the_documented_ones():
    module = head()
    assert (module.n, module.top_k, module.training_only, module.pool) == (4, 1, True, 'mean')
    assert module(torch.randn(2, 7, 11)).shape == (8, 5)


@pytest.mark.parametrize(('d', 'hidden'), [(11, 5), (22, 11)])
def test_the_mlp_halves_the_width(d, hidden):
    shapes = [tuple(parameter.shape) for parameter in head(d=d, num_classes=3).parameters()]
    assert shapes == [(hidden, d), (hidden,), (3, hidden), (3,)]


@pytest.mark.parametrize('pool', ['max', 'cls', '', None])
def test_an_unknown_pool_falls_back_to_mean(pool):
    plain, other = head(n=3), head(n=3, pool=pool)
    other.load_state_dict(plain.state_dict())
    embeddings = torch.randn(2, 7, 11)
    assert torch.equal(other(embeddings), plain(embeddings))


def test_gradients_flow_through_the_imputation():
    embeddings = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)
    module = head(d=3, num_classes=2, n=3, top_k=2).double()
    assert torch.autograd.gradcheck(lambda x: impute_outliers(x, 3, 2), (embeddings,))
    assert torch.autograd.gradcheck(module, (embeddings,))
    module(embeddings).sum().backward()
    assert (embeddings.grad != 0).all()
    assert all(parameter.grad is not None and (parameter.grad != 0).any() for parameter in module.parameters())


def test_a_fully_imputed_outlier_passes_its_gradient_to_all_tokens():
    """At alpha = 1 the outlier is the mean: d out_t / d x_s = 1 / T for every s, itself included."""
    embeddings = torch.randn(1, 5, 1, dtype=torch.float64)
    embeddings[0, 2] = 50
    embeddings.requires_grad_()
    grad, = torch.autograd.grad(impute_outliers(embeddings, 2)[1, 2, 0], embeddings)
    torch.testing.assert_close(grad, torch.full_like(grad, 1 / 5))


def test_autocast():
    module, embeddings = head(n=4), torch.randn(3, 13, 11)
    expected = module(embeddings)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        found = module(embeddings)
        found.float().square().mean().backward()
    assert found.dtype == torch.bfloat16 and found.shape == (12, 5)
    torch.testing.assert_close(found.float(), expected, atol=0.03, rtol=0.03)
    assert all(parameter.grad.isfinite().all() for parameter in module.parameters())


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_imputation_keeps_the_dtype(dtype):
    embeddings = torch.randn(3, 13, 11).to(dtype)
    found = impute_outliers(embeddings, 4, 2)
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), plain_imputation(embeddings, 4, 2), atol=0.05, rtol=0.02)


def test_inputs_are_not_written_to_and_need_not_be_contiguous():
    embeddings = torch.randn(11, 13, 3).permute(2, 1, 0)
    before = embeddings.clone()
    module = head(n=4, top_k=3)
    found = module(embeddings)
    assert torch.equal(embeddings, before)
    torch.testing.assert_close(found, module(embeddings.contiguous()))


def test_tokens_of_zero_stay_zero():
    assert torch.equal(impute_outliers(torch.zeros(2, 5, 3), 3, 2), torch.zeros(6, 5, 3))


def test_it_is_built_by_mmseg():
    built = MODELS.build(dict(type='OutlierImputeHead', d=11, num_classes=5, n=2))
    assert isinstance(built, OutlierImputeHead) and built.n == 2


# ---- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(('cfg', 'message'), [
    (dict(n=0), 'n=0 must be .*at least 1'), (dict(n=-2), 'n=-2 must be .*at least 1'),
    (dict(top_k=0), 'top_k=0 must be .*at least 1'), (dict(top_k=-1), 'top_k=-1 must be .*at least 1'),
    (dict(n=2.5), 'n=2.5 must be .*at least 1'), (dict(top_k=1.5), 'top_k=1.5 must be .*at least 1')], ids=str)
def test_numbers_under_one_are_refused(cfg, message):
    with pytest.raises(AssertionError, match=message):
        head(**cfg)


@pytest.mark.parametrize('shape', [(13, 11), (2, 3, 13, 11), (2, 13, 7), (2, 11, 13), (11,)], ids=str)
@pytest.mark.parametrize('n', [1, 4])
def test_tokens_of_another_rank_or_width_are_refused(shape, n):
    with pytest.raises(ValueError) as caught:
        head(n=n)(torch.randn(shape))
    assert '(B, T, 11)' in str(caught.value) and str(shape) in str(caught.value)
