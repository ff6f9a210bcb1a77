import numpy as np
import pytest
import torch
from packaging.version import Version

from ovseg.registry import ATTENTIONS

B, H, D_HEAD, GRID = 2, 3, 7, (3, 5)
ROW_SUMS = {'Vanilla': 1, 'MaskCLIP': 1, 'SCLIP': 2, 'ClearCLIP': 1, 'NACLIP': 1, 'KK': 1, 'SFP': 1, 'SegEarth': 3,
            'Experimental': 1, 'Gated': 1}
SOFTMAX_NAMES = [name for name in ROW_SUMS if name != 'MaskCLIP']


def qkv(grid_size=GRID, dtype=torch.float32):
    tokens = grid_size[0] * grid_size[1] + 1
    return tuple(torch.randn(B, H, tokens, D_HEAD).to(dtype) for _ in range(3))


def random_bias(q):
    return torch.randn(B, 1, q.shape[2], q.shape[2]).to(q.dtype)


def gaussian(i, j, grid_size, std):
    """ω of tokens i and j, of which 0 is the CLS token."""
    if i == 0 or j == 0:
        return 0.0
    (row_i, col_i), (row_j, col_j) = divmod(i - 1, grid_size[1]), divmod(j - 1, grid_size[1])
    return np.exp(-((row_i - row_j) ** 2 + (col_i - col_j) ** 2) / (2 * std ** 2))


def summands(name, qk, qq, kk, vv, omega):
    """Logits of one row; the weights are the sum of their softmaxes."""
    return {'Vanilla': [qk], 'SCLIP': [qq, kk], 'ClearCLIP': [qq], 'NACLIP': [kk + omega], 'KK': [kk],
            'SFP': [(qq + kk) / 2], 'SegEarth': [qq, kk, vv],
            'Experimental': [kk / (1 + np.exp(-qq))], 'Gated': [kk / (1 + np.exp(-qq))]}[name]


def reference(name, q, k, v, grid_size, bias=None, scale=D_HEAD ** -0.5, std=5.0):
    """The table of attentions, one query at a time, in float64."""
    q, k, v = (x.double().numpy() for x in (q, k, v))
    tokens = q.shape[2]
    weights = np.zeros((B, H, tokens, tokens))
    for b, h, i in np.ndindex(B, H, tokens):
        if name == 'MaskCLIP':
            weights[b, h, i, i] = 1
            continue
        qk, qq, kk, vv = (np.array([scale * sum(x[b, h, i] * y[b, h, j]) for j in range(tokens)])
                          for x, y in ((q, k), (q, q), (k, k), (v, v)))
        omega = np.array([gaussian(i, j, grid_size, std) for j in range(tokens)])
        for logits in summands(name, qk, qq, kk, vv, omega):
            exponentials = np.exp(logits + (0 if bias is None else bias[b, 0, i].double().numpy()))
            weights[b, h, i] += exponentials / exponentials.sum()
    return weights


def test_every_bundled_attention_is_tested_here():
    bundled = {name for name, function in ATTENTIONS.module_dict.items() if function.__module__.startswith('ovseg.')}
    assert bundled == set(ROW_SUMS)


@pytest.mark.parametrize('grid_size', [GRID, (5, 3), (1, 1), (1, 7)])
@pytest.mark.parametrize('name', ROW_SUMS)
def test_weights_equal_the_loop_reference(name, grid_size):
    q, k, v = qkv(grid_size)
    got = ATTENTIONS.get(name)(q, k, v, grid_size, None)
    np.testing.assert_allclose(got, reference(name, q, k, v, grid_size), atol=2e-6)


@pytest.mark.parametrize('name', SOFTMAX_NAMES)
def test_bias_enters_every_softmax(name):
    q, k, v = qkv()
    bias = random_bias(q)
    got = ATTENTIONS.get(name)(q, k, v, GRID, bias)
    np.testing.assert_allclose(got, reference(name, q, k, v, GRID, bias), atol=2e-6)


@pytest.mark.parametrize('scale', [0.0, 0.11, 1.3])
@pytest.mark.parametrize('name', SOFTMAX_NAMES)
def test_scale_overrides_the_default(name, scale):
    q, k, v = qkv()
    got = ATTENTIONS.get(name)(q, k, v, GRID, None, scale=scale)
    np.testing.assert_allclose(got, reference(name, q, k, v, GRID, scale=scale), atol=2e-6)


@pytest.mark.parametrize('std', [0.7, 5.0, 31.0])
def test_naclip_gaussian_std(std):
    q, k, v = qkv()
    got = ATTENTIONS.get('NACLIP')(q, k, v, GRID, None, gaussian_std=std)
    np.testing.assert_allclose(got, reference('NACLIP', q, k, v, GRID, std=std), atol=2e-6)


@pytest.mark.parametrize('std', [0, -1.0, float('nan')])
def test_naclip_refuses_a_gaussian_std_that_is_not_positive(std):
    with pytest.raises(ValueError, match=r'gaussian_std=.* must be a positive number'):
        ATTENTIONS.get('NACLIP')(*qkv(), GRID, None, gaussian_std=std)


def test_naclip_gaussian_is_zero_in_cls_row_and_column():
    _, _, v = qkv()
    keys = torch.zeros_like(v)
    logs = ATTENTIONS.get('NACLIP')(keys, keys, v, GRID, None, gaussian_std=1.7).log()
    omega = logs - logs[..., :1]
    assert torch.allclose(logs[:, :, 0], torch.full_like(logs[:, :, 0], -np.log(16)), atol=1e-6)
    expected = [[gaussian(i, j, GRID, 1.7) for j in range(16)] for i in range(16)]
    np.testing.assert_allclose(omega[1, 2], expected, atol=1e-6)


@pytest.mark.parametrize(('name', 'total'), ROW_SUMS.items())
def test_rows_sum_to_the_number_of_softmaxes(name, total):
    weights = ATTENTIONS.get(name)(*qkv(), GRID, None)
    assert weights.shape == (B, H, 16, 16)
    torch.testing.assert_close(weights.sum(-1), torch.full((B, H, 16), float(total)))


FLOAT16 = pytest.param(torch.float16, 4e-3, marks=pytest.mark.skipif(
    Version(torch.__version__) < Version('2.3'), reason='older torch has no float16 products on the CPU'))


@pytest.mark.parametrize(('dtype', 'atol'), [FLOAT16, (torch.bfloat16, 3e-2), (torch.float32, 2e-6)])
@pytest.mark.parametrize('name', ROW_SUMS)
def test_dtype_is_kept(name, dtype, atol):
    q, k, v = qkv(dtype=dtype)
    bias = None if name == 'MaskCLIP' else random_bias(q)
    got = ATTENTIONS.get(name)(q, k, v, GRID, bias)
    assert got.dtype == dtype
    np.testing.assert_allclose(got.float(), reference(name, q, k, v, GRID, bias), atol=atol)


@pytest.mark.parametrize('name', ROW_SUMS)
def test_large_logits_stay_finite(name):
    q, k, v = (30 * x for x in qkv())
    assert ATTENTIONS.get(name)(q, k, v, GRID, None).isfinite().all()


@pytest.mark.parametrize('name', ROW_SUMS)
def test_inputs_may_be_non_contiguous(name):
    q, k, v = (x.transpose(1, 2).contiguous().transpose(1, 2) for x in qkv())
    assert not q.is_contiguous()
    got = ATTENTIONS.get(name)(q, k, v, GRID, None)
    np.testing.assert_allclose(got, reference(name, q, k, v, GRID), atol=2e-6)


@pytest.mark.parametrize('name', ROW_SUMS)
def test_inputs_are_not_written_to(name):
    q, k, v = qkv()
    bias = None if name == 'MaskCLIP' else random_bias(q)
    before = [x.clone() for x in (q, k, v, bias) if x is not None]
    ATTENTIONS.get(name)(q, k, v, GRID, bias)
    assert all(torch.equal(x, y) for x, y in zip((q, k, v, bias), before))


@pytest.mark.parametrize('name', ROW_SUMS)
def test_names_are_matched_without_regard_to_case(name):
    assert ATTENTIONS.get(name.upper()) is ATTENTIONS.get(name.lower()) is ATTENTIONS.get(name) is not None


def test_experimental_is_gated():
    assert ATTENTIONS.get('Experimental') is ATTENTIONS.get('Gated')


def test_maskclip_refuses_a_bias():
    q, k, v = qkv()
    with pytest.raises(ValueError, match=r"image_encoder\.similarity .*image_encoder\.attention\.type='MaskCLIP' has none"):
        ATTENTIONS.get('MaskCLIP')(q, k, v, GRID, random_bias(q))
