"""The interface of refiners."""
from typing import Callable, Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Refiner(Protocol):
    """Refines dense scores by the image."""

    def of_image(self, image: Tensor) -> Callable[[Tensor], Tensor]:
        """A function that refines scores ``(Q, H, W)`` of ``image (C, H, W)``, each of the Q rows on its own."""
