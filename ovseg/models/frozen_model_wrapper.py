"""Evaluation on several devices."""
from typing import Any

from mmengine.model import BaseModel
from mmengine.registry import MODEL_WRAPPERS
from torch import nn


@MODEL_WRAPPERS.register_module()
class FrozenModelWrapper(nn.Module):
    """Wrapper that a distributed Runner puts around a model without gradients, which DistributedDataParallel refuses.

    Every process evaluates its share of the images with its own copy; there is nothing to exchange.
    """

    module: BaseModel

    def __init__(self, module: BaseModel) -> None:
        super().__init__()
        self.module = module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The module's own."""
        return self.module(*args, **kwargs)

    def test_step(self, data: Any) -> Any:
        """The module's own."""
        return self.module.test_step(data)

    def val_step(self, data: Any) -> Any:
        """The module's own."""
        return self.module.val_step(data)
