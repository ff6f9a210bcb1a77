import math

import numpy as np
import pytest
import torch

from ovseg.models.towers.position_embedding import resize_position_embedding

D = 7


def cubic(x, a=-0.75):
    """Keys' convolution kernel as torch's bicubic mode has it."""
    x = abs(x)
    if x <= 1:
        return (a + 2) * x ** 3 - (a + 3) * x ** 2 + 1
    return a * (x ** 3 - 5 * x ** 2 + 8 * x - 4) if x < 2 else 0.0


def taps(index, old, new):
    """Source positions and weights of one output position, at the scale factor (new + 0.1) / old."""
    centre = (index + 0.5) * old / (new + 0.1) - 0.5
    first = math.floor(centre) - 1
    return [(min(max(source, 0), old - 1), cubic(centre - source)) for source in range(first, first + 4)]


def reference(embedding, pretrained_grid, grid_size):
    embedding = embedding.double().numpy()
    rows = [embedding[0]]
    for i, j in np.ndindex(*grid_size):
        rows.append(sum(row_weight * col_weight * embedding[1 + row * pretrained_grid[1] + col]
                        for row, row_weight in taps(i, pretrained_grid[0], grid_size[0])
                        for col, col_weight in taps(j, pretrained_grid[1], grid_size[1])))
    return np.stack(rows)


@pytest.mark.parametrize('grid_size', [(7, 11), (5, 3), (3, 7), (2, 5), (1, 1)])
@pytest.mark.parametrize('pretrained_grid', [(3, 5), (7, 7)])
def test_equals_the_loop_reference(pretrained_grid, grid_size):
    embedding = torch.randn(1 + pretrained_grid[0] * pretrained_grid[1], D)
    got = resize_position_embedding(embedding, pretrained_grid, grid_size)
    np.testing.assert_allclose(got, reference(embedding, pretrained_grid, grid_size), atol=3e-6)


def test_native_grid_is_left_alone():
    embedding = torch.randn(16, D)
    assert torch.equal(resize_position_embedding(embedding, (3, 5), (3, 5)), embedding)


def test_transposed_grid_is_not_the_native_one():
    embedding = torch.randn(16, D)
    assert not torch.allclose(resize_position_embedding(embedding, (3, 5), (5, 3)), embedding, atol=0.1)


def test_cls_position_is_left_alone():
    embedding = torch.randn(16, D)
    assert torch.equal(resize_position_embedding(embedding, (3, 5), (7, 2))[0], embedding[0])


@pytest.mark.parametrize('old', [2, 7, 14, 16, 24])
def test_every_grid_size_comes_out_exactly(old):
    embedding = torch.randn(1 + old * 3, 1)
    sizes = [resize_position_embedding(embedding, (old, 3), (new, 2)).shape[0] for new in range(1, 131)]
    assert sizes == [1 + new * 2 for new in range(1, 131)]


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtype_is_kept_and_interpolation_is_in_float32(dtype):
    embedding = torch.randn(16, D).to(dtype)
    got = resize_position_embedding(embedding, (3, 5), (7, 11))
    assert got.dtype == dtype
    assert torch.equal(got, resize_position_embedding(embedding.float(), (3, 5), (7, 11)).to(dtype))


def test_input_may_be_non_contiguous_and_is_not_written_to():
    embedding = torch.randn(D, 16).t()
    before = embedding.clone()
    got = resize_position_embedding(embedding, (3, 5), (2, 7))
    assert torch.equal(embedding, before)
    np.testing.assert_allclose(got, reference(before, (3, 5), (2, 7)), atol=3e-6)
