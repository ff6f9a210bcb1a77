"""Number of tokens that a text tower needs of its context."""
from typing import Any, Dict, Union

import torch
from open_clip import CLIP, CustomTextCLIP
from open_clip.transformer import TextTransformer
from torch import Tensor

AnyCLIP = Union[CLIP, CustomTextCLIP]


def can_cut(clip: AnyCLIP) -> bool:
    """Return True if tokens behind the one whose output becomes the embedding change nothing.

    So it is in a causal tower that takes the end-of-text token's output (pool types ``argmax`` and ``eos``): CLIP's. It is not
    so without a causal mask (SigLIP, MobileCLIP), where the output at the last position is taken (CLIPA) or at a class token
    behind it (CoCa); and a Hugging Face tower does not say.
    """
    tower = _tower(clip)
    return (isinstance(tower, (CLIP, TextTransformer)) and tower.attn_mask is not None
            and getattr(tower, 'cls_emb', None) is None and _pool_type(tower) in ('argmax', 'eos'))


def needed_tokens(clip: AnyCLIP, ids: Tensor) -> Tensor:
    """Number of first tokens of each row of ``ids (n, context_length)`` that its embedding depends on, ``(n,)``."""
    if not can_cut(clip):
        return torch.full((ids.shape[0],), ids.shape[1])
    tower = _tower(clip)
    if _pool_type(tower) == 'eos':
        ids = ids.eq(tower.text_eos_id if isinstance(tower, CLIP) else tower.eos_id).int()
    return ids.argmax(dim=1) + 1


def cut_to(clip: AnyCLIP, length: int) -> Dict[str, Tensor]:
    """The tensors of ``clip`` that have to shrink, by name, for it to encode ``length`` tokens; none where it can't be cut."""
    if not can_cut(clip):
        return {}
    tower, prefix = _tower(clip), '' if isinstance(clip, CLIP) else 'text.'
    return {f'{prefix}positional_embedding': tower.positional_embedding[:length],
            f'{prefix}attn_mask': tower.attn_mask[:length, :length]}


def _tower(clip: AnyCLIP) -> Any:
    return clip if isinstance(clip, CLIP) else clip.text


def _pool_type(tower: Any) -> str:
    return tower.text_pool_type if isinstance(tower, CLIP) else tower.pool_type
