"""Random features and the grids on which every module is tried."""
import pytest
import torch

from ovseg.models import DenseFeatures

GRIDS = [(1, 1), (1, 6), (6, 1), (2, 2), (5, 7), (9, 4)]


@pytest.fixture(params=GRIDS, ids=lambda grid: f'{grid[0]}x{grid[1]}')
def grid(request):
    return request.param


@pytest.fixture(scope='session')
def features_of():
    """Factory of features: B=3, C=11; a group of alike patches, some others, attention of which some is on the diagonal."""
    def build(grid, batch=3, channels=11, seed=0):
        generator = torch.Generator().manual_seed(seed)
        count = grid[0] * grid[1]

        def randn(*shape):
            return torch.randn(*shape, generator=generator)
        patches, cls_token = randn(batch, count, channels), randn(batch, channels)
        alike = torch.rand(batch, count, 1, generator=generator) < 0.6
        patches = torch.where(alike, 2 * randn(batch, 1, channels) + 0.3 * patches, patches)
        attn = (2 * randn(batch, count + 1, count + 1)).softmax(-1)
        return DenseFeatures(patches, cls_token, attn, tuple(grid))
    return build
