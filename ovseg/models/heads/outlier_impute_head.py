"""A classifier over token embeddings that trains on versions of its input whose outliers are imputed step by step."""
import torch
from mmseg.registry import MODELS
from torch import Tensor, nn


def impute_outliers(embeddings: Tensor, n: int, top_k: int = 1) -> Tensor:
    """Move the tokens farthest from the mean towards it, in ``n`` steps.

    ``E^(α) = E - M ⊙ (E - μ) · α`` for α in linspace(0, 1, n): ``μ`` is the mean token, ``M`` marks the ``top_k`` (clamped
    to T) tokens of largest ``‖E_t - μ‖₂`` and is chosen without gradient.

    Args:
        embeddings: ``(B, T, D)``.
        n: Versions per sample.
        top_k: Tokens to impute.

    Returns:
        ``(B * n, T, D)``, the versions of a sample next to each other.
    """
    offset = embeddings - embeddings.mean(dim=1, keepdim=True)
    with torch.no_grad():
        distance = offset.float().norm(dim=-1)
        index = distance.topk(min(top_k, distance.shape[1])).indices
        marked = torch.zeros_like(distance).scatter_(1, index, 1).to(embeddings.dtype)
    alpha = torch.linspace(0, 1, n, device=embeddings.device, dtype=embeddings.dtype).view(n, 1, 1)
    versions = embeddings.unsqueeze(1) - (marked.unsqueeze(-1) * offset).unsqueeze(1) * alpha
    return versions.flatten(0, 1)


@MODELS.register_module()
class OutlierImputeHead(nn.Module):
    """Mean pooling and an MLP ``d -> d/2 -> num_classes``, after ``impute_outliers`` in training.

    Args:
        d: Width D of the tokens.
        num_classes: C.
        n: Versions per sample; with 1 it is a plain head. Labels are repeated by ``repeat_interleave(n)``.
        top_k: Tokens imputed per sample.
        training_only: Impute in training only.
        pool: ``'mean'``; any other value means the same.
    """

    def __init__(self, d: int, num_classes: int, n: int = 4, top_k: int = 1, training_only: bool = True,
                 pool: str = 'mean') -> None:
        super().__init__()
        # asserted, not raised: part of the contract of the head
        assert isinstance(n, int) and n >= 1, f'n={n!r} must be a whole number of versions per sample, at least 1'  # noqa: S101
        assert isinstance(top_k, int) and top_k >= 1, f'top_k={top_k!r} must be a whole number of outliers, at least 1'  # noqa: S101
        self.d, self.n, self.top_k, self.training_only, self.pool = d, n, top_k, training_only, pool
        self.mlp = nn.Sequential(nn.Linear(d, d // 2), nn.GELU(), nn.Linear(d // 2, num_classes))

    def forward(self, embeddings: Tensor) -> Tensor:
        """Logits ``(B * n, C)`` of ``embeddings (B, T, D)`` where it imputes, else ``(B, C)``.

        Raises:
            ValueError: ``embeddings`` is not of rank 3 and width ``d``.
        """
        if embeddings.ndim != 3 or embeddings.shape[-1] != self.d:
            raise ValueError(f'OutlierImputeHead takes token embeddings of shape (B, T, {self.d}), not '
                             f'{tuple(embeddings.shape)}')
        if self.n > 1 and (self.training or not self.training_only):
            embeddings = impute_outliers(embeddings, self.n, self.top_k)
        return self.mlp(embeddings.mean(dim=1))
