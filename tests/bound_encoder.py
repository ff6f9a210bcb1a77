"""A ``LastBlockEncoder`` together with a tower, for tests of the encoder alone."""
import torch
from torch import nn

from ovseg.models.dense import LastBlockEncoder, WindowBatch, project
from ovseg.models.towers import OpenCLIPTower


class BoundEncoder(nn.Module):
    """``LastBlockEncoder(**settings)`` on the image tower ``visual``, checked against it."""

    def __init__(self, visual, attention='Gated', ignore_residual=True, **settings):
        super().__init__()
        self.tower = OpenCLIPTower(visual)
        self.encoder = LastBlockEncoder(attention, ignore_residual=ignore_residual, **settings)
        self.encoder.check(self.tower)

    @property
    def visual(self):
        return self.tower.visual

    def tokens(self, images, with_attention=False):
        batch = WindowBatch(images, torch.zeros(3, 1, 1), torch.ones(3, 1, 1))
        return self.encoder.tokens(self.tower, batch, with_attention)

    def project(self, features):
        return project(self.tower, features)
