"""The frozen CLIP ViT whose last block attends differently."""
import inspect
import math
from functools import cache, partial
from typing import Any, Callable, Dict, Mapping, Optional, Tuple

import torch
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from ovseg.models.attention import similarity_map
from ovseg.models.attention.logits import product
from ovseg.models.dense_features import DenseFeatures
from ovseg.models.encoders.frozen import FrozenModule
from ovseg.models.encoders.position_embedding import resize_position_embedding
from ovseg.precision import without_autocast
from ovseg.registry import ATTENTIONS
from ovseg.utils import check_choice, check_dict, check_flag, check_integer, check_keys, check_number, shown

CLS_SOURCES = ('clip', 'last_block')
SIMILARITY_KEYS = ('similarity_weight', 'temperature', 'layer', 'add_self_similarity')


class CLIPImageEncoder(FrozenModule):
    """An open_clip ``VisionTransformer`` that gives every patch, not only the CLS token, a feature in CLIP's space.

    Blocks 1 to L-1 run unchanged. The last one replaces its attention weights by those of ``model_type``. What differs
    from the host model: position embeddings are interpolated to the image's grid, patch dropout is off, and no
    parameter requires a gradient.

    Args:
        visual: An open_clip ViT with a class token and learnable positions.
        model_type: A name in ``ATTENTIONS``, without regard to case.
        ignore_residual: Leave the last block's residual and MLP out.
        attention_cfg: Keywords of that attention, e.g. ``dict(scale=0.1)`` or NACLIP's ``dict(gaussian_std=5.0)``.
        similarity_cfg: None for no similarity map; a dict, perhaps empty, adds ``similarity_weight`` (1.0) times the
            cosine similarity of the patches after block ``layer`` (1-based, L // 2), divided by ``temperature`` (1.0), to
            the last block's logits. ``add_self_similarity=False`` leaves its diagonal out.
        cls_source: ``'clip'``: the CLS token that unmodified CLIP gives; ``'last_block'``: row 0 of the modified block.
        attention_layer: The block whose ``softmax(QKᵀ)`` post-processors see: -1 the last, -2 the one before.

    Raises:
        TypeError: ``visual`` is not such a ViT.
        ValueError: an unknown name or key, or a number out of range.
    """

    visual: VisionTransformer

    def __init__(self, visual: VisionTransformer, model_type: str = 'Experimental', ignore_residual: bool = True,
                 attention_cfg: Optional[Mapping[str, Any]] = None, similarity_cfg: Optional[Mapping[str, Any]] = None,
                 cls_source: str = 'clip', attention_layer: int = -1) -> None:
        super().__init__()
        check_supported(visual)
        self.visual = visual
        self.freeze()
        layers = len(visual.transformer.resblocks)
        self.attend = _bind_attention(model_type, check_dict('attention_cfg', attention_cfg), similarity_cfg is not None)
        self.ignore_residual = check_flag('ignore_residual', ignore_residual)
        self.similarity = None if similarity_cfg is None else _check_similarity(dict(similarity_cfg), layers)
        self.cls_source = check_choice('cls_source', cls_source, CLS_SOURCES)
        self.attention_layer = layers + check_integer('attention_layer', attention_layer, -layers, -1)

    @property
    def patch_size(self) -> Tuple[int, int]:
        """Height and width of a patch in pixels."""
        return tuple(self.visual.patch_size)

    def tokens(self, images: Tensor, with_attention: bool = False) -> DenseFeatures:
        """Features of width D in front of CLIP's final LayerNorm.

        Args:
            images: Normalised images ``(B, 3, H, W)``; what exceeds a multiple of the patch is ignored.
            with_attention: Compute ``attn`` of the result too.
        """
        x, grid_size = self._embed(images)
        *blocks, last = self.visual.transformer.resblocks
        attn = bias = None
        for index, block in enumerate(blocks):
            if with_attention and index == self.attention_layer:
                attn = _original_attention(*_heads(block, x)[:2])
            x = block(x)
            if self.similarity is not None and index + 1 == self.similarity['layer']:
                bias = _similarity_bias(x, **self.similarity)
        q, k, v = _heads(last, x)
        if with_attention and attn is None:
            attn = _original_attention(q, k)
        modified = _join(last, self.attend(q, k, v, grid_size, bias) @ v)
        if not self.ignore_residual:
            modified = _residual_and_mlp(last, x, modified)
        cls_token = modified[:, 0] if self.cls_source == 'last_block' else _original_cls(last, x, q, k, v)
        return DenseFeatures(modified[:, 1:], cls_token, attn, grid_size)

    def project(self, features: DenseFeatures) -> DenseFeatures:
        """``ln_post`` and projection: from ``tokens`` of width D to ``embeddings`` of width E."""
        patches, cls_token = (self.visual.ln_post(x) @ self.visual.proj for x in (features.patches, features.cls_token))
        return features.replace(patches=patches, cls_token=cls_token)

    def windows_that_fit(self, window: Tensor) -> int:
        """How many windows like those of ``window (B, 3, H, W)`` go through at once: what half the GPU's free memory holds.

        32 on other devices, where larger batches are not faster.
        """
        if window.device.type != 'cuda':
            return 32
        visual = self.visual
        patches = math.prod(-(-size // patch) for size, patch in zip(window.shape[2:], self.patch_size)) + 1
        heads = visual.transformer.resblocks[-1].attn.num_heads
        # input, norm, q, k, v, and the MLP's hidden layer before and behind its activation; last attention's logits
        floats = patches * 14 * visual.transformer.width + 4 * heads * patches ** 2
        free = torch.cuda.mem_get_info(window.device)[0]
        free += torch.cuda.memory_reserved(window.device) - torch.cuda.memory_allocated(window.device)
        return max(1, min(512, int(free / 2 / (floats * visual.conv1.weight.element_size()))))

    def _embed(self, images: Tensor) -> Tuple[Tensor, Tuple[int, int]]:
        """Patch, class and position embeddings, normalised: ``(B, 1+N, D)``, and the grid."""
        visual = self.visual
        patches = visual.conv1(images.to(visual.conv1.weight.dtype))
        grid_size = (patches.shape[2], patches.shape[3])
        patches = patches.flatten(2).transpose(1, 2)
        cls_token = visual.class_embedding.to(patches.dtype).expand(len(images), 1, -1)
        positions = resize_position_embedding(visual.positional_embedding, visual.grid_size, grid_size)
        return visual.ln_pre(torch.cat([cls_token, patches], dim=1) + positions.to(patches.dtype)), grid_size


class CompiledCLIPImageEncoder(CLIPImageEncoder):
    """A ``CLIPImageEncoder`` whose ``tokens`` runs through ``torch.compile``.

    The compiled function takes the encoder as an argument, so that a deep or pickled copy runs its own weights.
    """

    def tokens(self, images: Tensor, with_attention: bool = False) -> DenseFeatures:
        """See ``CLIPImageEncoder``."""
        return _compiled_tokens()(self, images, with_attention)


@cache
def _compiled_tokens() -> Callable[..., DenseFeatures]:
    return torch.compile(CLIPImageEncoder.tokens)


def check_supported(visual: nn.Module) -> None:
    """Refuse image towers that are not plain ViTs with a class token.

    Raises:
        TypeError: says what the tower is and what is needed.
    """
    needed = 'ovseg needs an open_clip VisionTransformer with a class token, e.g. ViT-B-16, ViT-L-14 or ViT-H-14'
    if not isinstance(visual, VisionTransformer):
        raise TypeError(f'the image tower is a {type(visual).__name__}; {needed}')
    if visual.attn_pool is not None:
        raise TypeError(f'the image tower pools by attention (CoCa); {needed}')
    if visual.pool_type != 'tok':
        raise TypeError(f'the image tower pools its patches (pool_type={visual.pool_type!r}); {needed}')
    if not all(isinstance(block, ResidualAttentionBlock) for block in visual.transformer.resblocks):
        raise TypeError(f'the image tower has {type(visual.transformer.resblocks[0]).__name__}s; {needed}')


def _bind_attention(model_type: str, cfg: Dict[str, Any], with_bias: bool) -> Any:
    attention = ATTENTIONS.get(model_type) if isinstance(model_type, str) else None
    if attention is None:
        raise ValueError(f'model_type={shown(model_type)} is unknown; known: {", ".join(sorted(ATTENTIONS.module_dict))}')
    fixed = ('q', 'k', 'v', 'grid_size', 'bias')
    allowed = [name for name in inspect.signature(attention).parameters if name not in fixed]
    check_keys('attention_cfg', cfg, allowed, f'model_type={shown(model_type)}')
    for name, value in cfg.items():
        if isinstance(value, float):  # nothing else can be NaN or Inf
            check_number(f'attention_cfg.{name}', value, -math.inf)
    attend = partial(attention, **cfg)
    probe = torch.zeros(1, 1, 2, 1)  # wrong numbers are refused now, not at the first image
    attend(probe, probe, probe, (1, 1), torch.zeros(1, 1, 2, 2) if with_bias else None)
    return attend


def _check_similarity(cfg: Dict[str, Any], layers: int) -> Dict[str, Any]:
    check_keys('similarity_enhancement_cfg', cfg, SIMILARITY_KEYS)
    cfg = {**dict(similarity_weight=1.0, temperature=1.0, layer=layers // 2, add_self_similarity=True), **cfg}
    check_integer('similarity_enhancement_cfg.layer', cfg['layer'], 1, layers - 1)
    check_number('similarity_enhancement_cfg.temperature', cfg['temperature'], above=True)
    check_number('similarity_enhancement_cfg.similarity_weight', cfg['similarity_weight'], -math.inf)
    check_flag('similarity_enhancement_cfg.add_self_similarity', cfg['add_self_similarity'])
    return cfg


def _similarity_bias(x: Tensor, layer: int, similarity_weight: float, temperature: float, add_self_similarity: bool) -> Tensor:
    """``(B, 1, T, T)``: the weighted similarity of the patches of ``x (B, T, D)``, zero in row and column 0."""
    with without_autocast(x):  # TF32 is the encoder's own affair, and this is compiled
        similarity = similarity_weight * similarity_map(x[:, 1:], temperature, add_self_similarity)
    return F.pad(similarity, (1, 0, 1, 0)).unsqueeze(1)


def _heads(block: ResidualAttentionBlock, x: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
    """q, k, v of the block's input ``x (B, T, D)``, each ``(B, H, T, d)``."""
    packed = F.linear(block.ln_1(x), block.attn.in_proj_weight, block.attn.in_proj_bias)
    q, k, v = packed.unflatten(-1, (3, block.attn.num_heads, -1)).permute(2, 0, 3, 1, 4)
    return q, k, v


def _join(block: ResidualAttentionBlock, values: Tensor) -> Tensor:
    """Heads' values ``(B, H, T, d)`` to what the block's attention adds to its residual, ``(B, T, D)``."""
    return block.ls_1(block.attn.out_proj(values.transpose(1, 2).flatten(2)))


def _residual_and_mlp(block: ResidualAttentionBlock, x: Tensor, out: Tensor) -> Tensor:
    z = x + out
    return z + block.ls_2(block.mlp(block.ln_2(z)))


def _original_cls(block: ResidualAttentionBlock, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """CLIP's own CLS token ``(B, D)``: the unmodified block, computed for that one row."""
    out = _join(block, F.scaled_dot_product_attention(q[:, :, :1], k, v))
    return _residual_and_mlp(block, x[:, :1], out)[:, 0]


def _original_attention(q: Tensor, k: Tensor) -> Tensor:
    """``(B, T, T)`` float32: mean over heads of ``softmax(QKᵀ)``."""
    return product(q, k).softmax(dim=-1, dtype=torch.float32).mean(dim=1)
