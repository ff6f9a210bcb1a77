"""The text embeddings of a vocabulary."""
from typing import NamedTuple, Optional

from torch import Tensor


class ClassTexts(NamedTuple):
    """The text embeddings of a vocabulary.

    Args:
        embeddings: Unit rows ``(Q, E)`` float32, one per name; None where the patches' scores are there already.
        class_of: The class of each, ``(Q,)`` int64, ascending.
        num_classes: K.
    """
    embeddings: Optional[Tensor]
    class_of: Tensor
    num_classes: int
