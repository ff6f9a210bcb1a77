"""Global debiasing: subtract the CLS token's part from every patch."""
from torch import Tensor

from ovseg.models.dense_features import DenseFeatures
from ovseg.models.post_processors.post_processor import PostProcessor, cls_token_of, cosine, remove_direction
from ovseg.registry import POST_PROCESSORS
from ovseg.utils import check_flag, check_number


def global_debias(patches: Tensor, cls_token: Tensor, factor: float, normalize_cls: bool = False) -> Tensor:
    """``x_i - factor · cos(x_i, x_cls) · x_cls``.

    Args:
        patches: ``(B, N, E)``.
        cls_token: ``(B, E)``.
        factor: How much is removed.
        normalize_cls: Use ``x_cls / ‖x_cls‖`` as the last factor.

    Returns:
        ``(B, N, E)`` in the dtype of ``patches``.
    """
    similarity = cosine(patches, cls_token.unsqueeze(1))
    return remove_direction(patches, factor * similarity, cls_token, normalize_cls)


@POST_PROCESSORS.register_module()
class GlobalDebias(PostProcessor):
    """Subtracts the CLS token's part from every patch: ``global_debias``.

    Args:
        factor: Not negative; 0 does nothing.
        normalize_cls: Make what is removed independent of the CLS token's length.
    """

    stage = 'embeddings'
    needs_cls = True

    def __init__(self, factor: float = 0.2, normalize_cls: bool = False) -> None:
        self.factor = check_number('GlobalDebias factor', factor, 0)
        self.normalize_cls = check_flag('GlobalDebias normalize_cls', normalize_cls)

    def __call__(self, features: DenseFeatures) -> DenseFeatures:
        """See ``PostProcessor``."""
        if self.factor == 0:
            return features
        return features.replace(
            patches=global_debias(features.patches, cls_token_of(features, self), self.factor, self.normalize_cls))
