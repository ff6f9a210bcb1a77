"""The interface of refiners."""
from abc import ABC, abstractmethod
from typing import Callable, Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Refiner(Protocol):
    """Refines dense scores by the image."""

    def of_image(self, image: Tensor) -> Callable[[Tensor], Tensor]:
        """A function that refines scores ``(Q, H, W)`` of ``image (C, H, W)``, each of the Q rows on its own."""


class InputRefiner(ABC):
    """Refines dense scores at the size of the network's input, before they are resized; see ``Decoder.at_input_size``."""

    @abstractmethod
    def of_image(self, image: Tensor) -> Callable[[Tensor], Tensor]:
        """A function that refines scores ``(Q, H, W)``, each of the Q rows on its own.

        Args:
            image: The input as RGB ``(3, H, W)`` float32 in [0, 1].
        """
