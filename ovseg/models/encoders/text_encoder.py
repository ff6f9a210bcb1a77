"""Class names to query embeddings in CLIP's joint space."""
from typing import Callable, List, Sequence

import torch
from open_clip import CLIP
from torch import Tensor
from torch.nn import functional as F

from ovseg.models.encoders.frozen import FrozenModule


class TextEncoder(FrozenModule):
    """Embeds class names with CLIP's text tower, averaged over prompt templates.

    Args:
        clip: An open_clip model; its image tower is not used.
        tokenizer: Its tokenizer: a list of strings to ids ``(n, context_length)``.
        batch_size: Prompts per forward pass.
    """

    clip: CLIP

    def __init__(self, clip: CLIP, tokenizer: Callable[[List[str]], Tensor], batch_size: int = 256) -> None:
        super().__init__()
        self.clip = clip
        self.tokenizer = tokenizer
        self.batch_size = batch_size
        self.freeze()

    @torch.no_grad()
    def encode(self, class_names: Sequence[str], templates: Sequence[str]) -> Tensor:
        """``(Q, E)`` float32 unit rows: per name the mean over the templates of unit text embeddings, normalised again."""
        prompts = [template.format(name) for name in class_names for template in templates]
        device = next(self.clip.parameters()).device
        rows = [self.clip.encode_text(self.tokenizer(prompts[start:start + self.batch_size]).to(device), normalize=True)
                for start in range(0, len(prompts), self.batch_size)]
        embeddings = torch.cat(rows).float().unflatten(0, (len(class_names), len(templates)))
        return F.normalize(embeddings.mean(dim=1), dim=-1)
