import math

import pytest
import torch

from ovseg.models.dense_features import DenseFeatures
from ovseg.models.upsamplers import BilinearUpsampler
from ovseg.models.upsamplers.bilinear_upsampler import upsample_bilinear

RGB = torch.rand(2, 3, 24, 40)


def by_loop(patches, grid_size, scale):
    """One cell of the finer grid after the other, ``(B, scale² · N, E)``."""
    rows, columns = grid_size
    cells = []
    for i in range(scale * rows):
        for j in range(scale * columns):
            value = 0
            y, x = (min(max((index + 0.5) / scale - 0.5, 0), size - 1) for index, size in ((i, rows), (j, columns)))
            for r in range(rows):
                for c in range(columns):
                    value = value + max(0, 1 - abs(r - y)) * max(0, 1 - abs(c - x)) * patches[:, r * columns + c]
            cells.append(value)
    return torch.stack(cells, dim=1)


@pytest.mark.parametrize('scale', [1, 2, 3])
def test_it_interpolates_like_a_loop(scale):
    features = DenseFeatures(torch.randn(2, 15, 7), torch.randn(2, 7), torch.rand(2, 16, 16), (3, 5))
    result = BilinearUpsampler(scale)(features, RGB)
    assert result.grid_size == (3 * scale, 5 * scale)
    torch.testing.assert_close(result.patches, by_loop(features.patches, (3, 5), scale), atol=1e-5, rtol=1e-5)
    assert result.cls_token is features.cls_token and result.attn is features.attn


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_the_type_stays(dtype):
    features = DenseFeatures(torch.randn(2, 15, 7).to(dtype), None, None, (3, 5))
    assert BilinearUpsampler()(features, RGB).patches.dtype == dtype


@pytest.mark.parametrize('scale', [0, -1, 1.5, True, '2', None, math.inf])
def test_other_scales_are_refused(scale):
    with pytest.raises(ValueError, match=r'^upsampler.scale=.* must be an integer >= 1$'):
        BilinearUpsampler(scale)


def test_long_embeddings_have_no_more_weight_once_they_are_normalised():
    features = DenseFeatures(torch.randn(2, 15, 7) * torch.rand(2, 15, 1) * 9, None, None, (3, 5))
    unit = features.replace(patches=features.patches / features.patches.square().sum(dim=2, keepdim=True).sqrt())
    found = BilinearUpsampler(2, normalize=True)(features, torch.rand(2, 3, 24, 40))
    torch.testing.assert_close(found.patches, upsample_bilinear(unit, 2).patches)
    assert (found.patches - upsample_bilinear(features, 2).patches).abs().max() > 0.1
    with pytest.raises(ValueError, match=r'upsampler\.normalize=1'):
        BilinearUpsampler(2, normalize=1)
