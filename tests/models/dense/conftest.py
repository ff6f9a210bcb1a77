"""A guide whose features a test gives, and batches of windows with it."""
from dataclasses import dataclass

import pytest
import torch

from ovseg.models.guides import Guide, GuideFeatures
from ovseg.models.window_batch import WindowBatch


@dataclass(frozen=True)
class GivenGuide(Guide):
    """The features that its network is."""

    def load(self):
        raise AssertionError('it has no weights')

    def __call__(self, network, batch):
        return GuideFeatures(network(batch.images), network.grid_size)


class GivenFeatures(torch.nn.Module):
    """Gives ``features (B, N', C)`` for any windows."""

    def __init__(self, features, grid_size):
        super().__init__()
        self.features, self.grid_size = features, grid_size

    def forward(self, images):
        assert len(images) == len(self.features)
        return self.features


@pytest.fixture
def given_guide():
    return GivenGuide()


@pytest.fixture
def batch_of(given_guide):
    """Windows ``(B, 3, h, w)`` with features ``(B, N', C)`` of the guide, whose grid is ``grid_size``."""
    def build(images, features, grid_size, **others):
        networks = {given_guide: GivenFeatures(features, grid_size)}
        return WindowBatch(images, torch.zeros(3, 1, 1), torch.ones(3, 1, 1), networks, **others)
    return build
