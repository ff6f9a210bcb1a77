"""CTD, cluster-then-debias: debias by the similarity of a region, not of a patch, to the CLS token."""
import torch
from torch import Tensor
from torch.nn import functional as F

from ovseg.models.dense_features import DenseFeatures
from ovseg.models.post_processors.dbscan import METRICS, dbscan
from ovseg.models.post_processors.post_processor import PostProcessor, cls_token_of, cosine, remove_direction
from ovseg.registry import POST_PROCESSORS
from ovseg.utils import check_choice, check_flag, check_integer, check_number


def cluster_debias(patches: Tensor, cls_token: Tensor, labels: Tensor, factor: float, normalize_cls: bool = True) -> Tensor:
    """``x_i - factor · cos(m_k, x_cls) · x_cls`` for i in cluster k, whose mean patch is ``m_k``; noise stays as it is.

    Args:
        patches: ``(B, N, E)``.
        cls_token: ``(B, E)``.
        labels: ``(B, N)``, -1 for noise.
        factor: How much is removed.
        normalize_cls: Use ``x_cls / ‖x_cls‖`` as the last factor.

    Returns:
        ``(B, N, E)`` in the dtype of ``patches``.
    """
    together = (labels.unsqueeze(-1) == labels.unsqueeze(-2)).float()
    prototypes = together / together.sum(dim=-1, keepdim=True) @ patches.float()
    similarity = cosine(prototypes, cls_token.unsqueeze(1))
    debiased = remove_direction(patches, factor * similarity, cls_token, normalize_cls)
    return torch.where((labels < 0).unsqueeze(-1), patches, debiased)


@POST_PROCESSORS.register_module()
class CTD(PostProcessor):
    """Clusters a window's patches by DBSCAN and applies ``cluster_debias``.

    Args:
        metric: ``'euclidean'`` or ``'cosine'``, between L2-normalised patches.
        eps: Radius of DBSCAN, positive.
        min_samples: Patches within the radius, itself included, that make a core point; at least 1.
        factor: How much is removed; not negative, 0 does nothing.
        normalize_cls: Make what is removed independent of the CLS token's length.
    """

    stage = 'embeddings'
    needs_cls = True

    def __init__(self, metric: str = 'euclidean', eps: float = 1.1, min_samples: int = 11, factor: float = 1.5,
                 normalize_cls: bool = True) -> None:
        self.metric = check_choice('CTD metric', metric, METRICS)
        self.eps = check_number('CTD eps', eps, above=True)
        self.min_samples = check_integer('CTD min_samples', min_samples, 1)
        self.factor = check_number('CTD factor', factor, 0)
        self.normalize_cls = check_flag('CTD normalize_cls', normalize_cls)

    def cluster(self, embeddings: Tensor) -> Tensor:
        """Clusters of each window's ``embeddings (B, N, E)``: ``(B, N)`` int64, noise -1."""
        precise = embeddings if embeddings.dtype == torch.float64 else embeddings.float()
        return dbscan(F.normalize(precise, dim=-1), self.eps, self.min_samples, self.metric)

    def __call__(self, features: DenseFeatures) -> DenseFeatures:
        """See ``PostProcessor``."""
        if self.factor == 0:
            return features
        labels = self.cluster(features.patches)
        return features.replace(patches=cluster_debias(features.patches, cls_token_of(features, self), labels, self.factor,
                                                       self.normalize_cls))
