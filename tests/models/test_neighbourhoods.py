"""Sums of neighbours against a loop."""
import numpy as np
import pytest
import torch

from ovseg.models import neighbourhoods
from ovseg.models.neighbourhoods import sums_of_neighbours


@pytest.mark.parametrize('strip_bytes', [1, 5000, 10 ** 7])
@pytest.mark.parametrize('reach', [1, 2])
def test_sums_are_those_of_a_loop(strip_bytes, reach, monkeypatch):
    monkeypatch.setattr(neighbourhoods, 'STRIP_BYTES', strip_bytes)
    side = 2 * reach + 1
    padded, weights = torch.randn(3, 5 + 2 * reach, 7 + 2 * reach, 2), torch.randn(3, 5, 7, side ** 2)
    expected = np.zeros((3, 5, 7, 2))
    for index in np.ndindex(3, 5, 7):
        window, y, x = index
        for v in range(side):
            for u in range(side):
                expected[index] += weights[index][v * side + u].item() * padded[window, y + v, x + u].numpy()
    np.testing.assert_allclose(sums_of_neighbours(padded, weights), expected, atol=1e-4)
    other = sums_of_neighbours(padded.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0), weights)
    np.testing.assert_allclose(other, expected, atol=1e-4)
