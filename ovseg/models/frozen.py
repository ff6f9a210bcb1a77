"""Modules that are never trained."""
from torch import nn
from typing_extensions import Self


class FrozenModule(nn.Module):
    """A module without trainable parameters that stays in evaluation mode, even inside a model that is trained."""

    def freeze(self) -> None:
        """Switch off gradients and training behaviour of everything inside; call it at the end of ``__init__``."""
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode."""
        return super().train(False)
