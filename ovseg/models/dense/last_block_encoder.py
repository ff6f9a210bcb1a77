"""The frozen ViT with another attention in its last block."""
import inspect
import math
from functools import cache, partial
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple, Union

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ovseg.models.attention import similarity_map
from ovseg.models.attention.logits import product
from ovseg.models.dense.dense_encoder import DenseEncoder, WindowBatch
from ovseg.models.dense_features import DenseFeatures
from ovseg.models.towers.image_tower import ImageTower
from ovseg.precision import without_autocast
from ovseg.registry import ATTENTIONS, DENSE_ENCODERS
from ovseg.utils import (
    LEFT_OVER,
    check_choice,
    check_dict,
    check_flag,
    check_integer,
    check_keys,
    check_number,
    registered,
    shown,
)

CLS_SOURCES = ('clip', 'last_block')
SIMILARITY_KEYS = ('similarity_weight', 'temperature', 'layer', 'add_self_similarity')


@DENSE_ENCODERS.register_module()
class LastBlockEncoder(DenseEncoder):
    """Patch features of the last block with the weights of ``attention`` in place of its own; the blocks before are unchanged.

    Args:
        attention: A name in ``ATTENTIONS``, without regard to case, or a dict with it as ``type`` and with its keywords, e.g.
            ``dict(type='NACLIP', gaussian_std=5.0)``.
        similarity: None for no similarity map; a dict, perhaps empty, adds ``similarity_weight`` (1.0) times the cosine
            similarity of the patches after block ``layer`` (1-based, default L // 2), divided by ``temperature`` (1.0), to
            the last block's logits. ``add_self_similarity=False`` leaves its diagonal out.
        ignore_residual: Leave the last block's residual and MLP out.
        cls_source: ``'clip'``: the CLS token of the unmodified CLIP; ``'last_block'``: row 0 of the modified block. Without
            effect for a tower without CLS token.
        attention_layer: The block whose ``softmax(QKᵀ)`` post-processors use: -1 the last, -2 the one before.
        precision: ``'fp32'``, ``'fp16'`` or ``'bf16'``: what the image tower computes in.
        compile: Run through ``torch.compile``; the first image of a window size then takes minutes.

    Raises:
        ValueError: an unknown name or key, or a number out of range.
    """

    def __init__(self, attention: Union[str, Mapping[str, Any]] = 'Gated', similarity: Optional[Mapping[str, Any]] = None,
                 ignore_residual: bool = True, cls_source: str = 'clip', attention_layer: int = -1, precision: str = 'fp32',
                 compile: bool = False) -> None:
        super().__init__()
        self.similarity = None if similarity is None else _checked_similarity(similarity)
        self.attend = bind_attention(attention, similarity is not None)
        self.ignore_residual = check_flag('image_encoder.ignore_residual', ignore_residual)
        self.cls_source = check_choice('image_encoder.cls_source', cls_source, CLS_SOURCES)
        self.attention_layer = check_integer('image_encoder.attention_layer', attention_layer, -1000, -1)
        self.precision, self.compiled = precision, check_flag('image_encoder.compile', compile)
        _ = self.dtype
        self.freeze()

    def check(self, tower: ImageTower) -> None:
        """See ``DenseEncoder``."""
        check_integer('image_encoder.attention_layer', self.attention_layer, -tower.depth, -1)
        if self.similarity is not None:
            check_integer('image_encoder.similarity.layer', self.similarity.get('layer', tower.depth // 2), 1, tower.depth - 1)

    def tokens(self, tower: ImageTower, batch: WindowBatch, with_attention: bool = False) -> DenseFeatures:
        """See ``DenseEncoder``."""
        run = _compiled_tokens() if self.compiled else last_block_tokens
        return run(self, tower, batch.images, with_attention)


class LastBlockInput(NamedTuple):
    """The tensors that enter the last block.

    Args:
        x: Its input tokens ``(B, T, D)``.
        q: Queries ``(B, H, T, d)``.
        k: Keys.
        v: Values.
        grid_size: Rows and columns of the patches.
        bias: Weighted mid-layer similarity ``(B, 1, T, T)``, or None.
        attn: The original attention ``(B, T, T)``, or None.
    """
    x: Tensor
    q: Tensor
    k: Tensor
    v: Tensor
    grid_size: Tuple[int, int]
    bias: Optional[Tensor]
    attn: Optional[Tensor]


def last_block_tokens(encoder: LastBlockEncoder, tower: ImageTower, images: Tensor, with_attention: bool) -> DenseFeatures:
    """``LastBlockEncoder.tokens`` of normalised images ``(B, 3, H, W)``."""
    return leave_last_block(encoder, tower, enter_last_block(encoder, tower, images, with_attention))


def enter_last_block(encoder: LastBlockEncoder, tower: ImageTower, images: Tensor, with_attention: bool) -> LastBlockInput:
    """All blocks but the last, which are CLIP's own."""
    x, grid_size = tower.embed(images)
    *blocks, last = tower.blocks
    attn = bias = None
    similarity = None if encoder.similarity is None else {'layer': tower.depth // 2, **encoder.similarity}
    for index, block in enumerate(blocks):
        if with_attention and index == tower.depth + encoder.attention_layer:
            attn = original_attention(*tower.qkv(block, x, grid_size)[:2])
        x = tower.run(block, x, grid_size)
        if similarity is not None and index + 1 == similarity['layer']:
            bias = similarity_bias(x, tower.has_cls, similarity)
    q, k, v = tower.qkv(last, x, grid_size)
    if with_attention and attn is None:
        attn = original_attention(q, k)
    return LastBlockInput(x, q, k, v, grid_size, bias, attn)


def leave_last_block(encoder: LastBlockEncoder, tower: ImageTower, entered: LastBlockInput) -> DenseFeatures:
    """The last block with the encoder's attention."""
    x, q, k, v, grid_size, bias, attn = entered
    last = tower.blocks[-1]
    modified = tower.join(last, encoder.attend(q, k, v, grid_size, bias) @ v)
    if not encoder.ignore_residual:
        modified = _residual_and_mlp(tower, last, x, modified)
    if not tower.has_cls:
        return DenseFeatures(modified, None, attn, grid_size)
    cls_token = modified[:, 0] if encoder.cls_source == 'last_block' else original_cls(tower, last, x, q, k, v)
    return DenseFeatures(modified[:, 1:], cls_token, attn, grid_size)


@cache
def _compiled_tokens() -> Callable[..., DenseFeatures]:
    """The compiled function takes encoder and tower as arguments, so that copies of a segmentor run their own weights."""
    return torch.compile(last_block_tokens)


def bind_attention(attention: Union[str, Mapping[str, Any]], with_bias: bool) -> Callable[..., Tensor]:
    """The attention of a config with its keywords bound: a function of ``(q, k, v, grid_size, bias)``.

    Raises:
        ValueError: an unknown type or keyword, a number out of range, or a bias that the attention cannot take.
    """
    cfg = dict(attention) if isinstance(attention, Mapping) else dict(type=attention)
    name = cfg.pop('type', 'Gated')
    function = registered(ATTENTIONS, name)
    if function is None:
        raise ValueError(f'image_encoder.attention.type={shown(name)} is unknown; known: '
                         f'{", ".join(sorted(ATTENTIONS.module_dict))}')
    fixed = ['q', 'k', 'v', 'grid_size', 'bias']
    parameters = _parameters(function)
    if parameters[:len(fixed)] != fixed:
        raise ValueError(f'image_encoder.attention.type={shown(name)} is no attention: its first arguments must be '
                         f'{", ".join(fixed)}')
    allowed = parameters[len(fixed):]
    check_keys('image_encoder.attention', cfg, allowed, f'type={shown(name)}', LEFT_OVER)
    for key, value in cfg.items():
        if isinstance(value, float):  # nothing else can be NaN or Inf
            check_number(f'image_encoder.attention.{key}', value, -math.inf)
    attend = partial(function, **cfg)
    probe = torch.zeros(1, 1, 2, 1)  # wrong numbers are refused now, not at the first image
    attend(probe, probe, probe, (1, 1), torch.zeros(1, 1, 2, 2) if with_bias else None)
    return attend


def _parameters(function: Callable[..., Any]) -> List[str]:
    """Names of a function's parameters; none for one that does not tell them."""
    try:
        return list(inspect.signature(function).parameters)
    except ValueError:
        return []


def similarity_bias(x: Tensor, has_cls: bool, similarity: Mapping[str, Any]) -> Tensor:
    """The weighted similarity of the patches of ``x (B, T, D)``, ``(B, 1, T, T)``, zero in a CLS token's row and column.

    Args:
        x: Tokens.
        has_cls: Whether token 0 is a CLS token.
        similarity: ``similarity_weight, temperature, add_self_similarity``.
    """
    first = int(has_cls)
    with without_autocast(x):  # only autocast: switching TF32 off cannot be compiled, and the tower may use it
        values = similarity['similarity_weight'] * similarity_map(x[:, first:], similarity['temperature'],
                                                                  similarity['add_self_similarity'])
    return F.pad(values, (first, 0, first, 0)).unsqueeze(1)


def original_attention(q: Tensor, k: Tensor) -> Tensor:
    """``(B, T, T)`` float32: mean over heads of ``softmax(QKᵀ)``."""
    return product(q, k).softmax(dim=-1, dtype=torch.float32).mean(dim=1)


def original_cls(tower: ImageTower, block: nn.Module, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """CLIP's own CLS token ``(B, D)``: the unmodified block, computed for that one row."""
    out = tower.join(block, F.scaled_dot_product_attention(q[:, :, :1], k, v))
    return _residual_and_mlp(tower, block, x[:, :1], out)[:, 0]


def _residual_and_mlp(tower: ImageTower, block: nn.Module, x: Tensor, out: Tensor) -> Tensor:
    z = x + out
    return z + tower.mlp(block, z)


def _checked_similarity(similarity: Mapping[str, Any]) -> Dict[str, Any]:
    """The keywords with their defaults, apart from ``layer``, whose default depends on the tower."""
    key = 'image_encoder.similarity'
    given = check_dict(key, similarity)
    check_keys(key, given, SIMILARITY_KEYS)
    cfg = {**dict(similarity_weight=1.0, temperature=1.0, add_self_similarity=True), **given}
    if 'layer' in cfg:
        check_integer(f'{key}.layer', cfg['layer'], 1)
    check_number(f'{key}.temperature', cfg['temperature'], above=True)
    check_number(f'{key}.similarity_weight', cfg['similarity_weight'], -math.inf)
    check_flag(f'{key}.add_self_similarity', cfg['add_self_similarity'])
    return cfg
