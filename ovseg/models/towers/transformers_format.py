"""CLIP checkpoints of Hugging Face ``transformers``: their weights by open_clip's names, and their config."""
import re
from typing import Any, Dict, Mapping

import torch
from open_clip import CLIPTextCfg, CLIPVisionCfg
from torch import Tensor

from ovseg.utils import check_choice, shown

_NAMES = {
    'vision_model.embeddings.class_embedding': 'visual.class_embedding',
    'vision_model.embeddings.patch_embedding.': 'visual.conv1.',
    'vision_model.embeddings.position_embedding.weight': 'visual.positional_embedding',
    'vision_model.pre_layrnorm.': 'visual.ln_pre.',
    'vision_model.post_layernorm.': 'visual.ln_post.',
    'vision_model.encoder.layers.': 'visual.transformer.resblocks.',
    'visual_projection.weight': 'visual.proj',
    'text_model.embeddings.token_embedding.': 'token_embedding.',
    'text_model.embeddings.position_embedding.weight': 'positional_embedding',
    'text_model.final_layer_norm.': 'ln_final.',
    'text_model.encoder.layers.': 'transformer.resblocks.',
    'text_projection.weight': 'text_projection'}
_NAMES_IN_A_BLOCK = {'.layer_norm1.': '.ln_1.', '.layer_norm2.': '.ln_2.', '.self_attn.': '.attn.', '.mlp.fc1.': '.mlp.c_fc.',
                     '.mlp.fc2.': '.mlp.c_proj.'}
_TRANSPOSED = ('visual_projection.weight', 'text_projection.weight')
_POSITION_IDS = '.embeddings.position_ids'  # 0, 1, 2, ..., which releases before 4.31 saved
_PART = re.compile(r'(.*\.self_attn\.)([qkv])_proj\.(weight|bias)')
_ARGMAX = 2  # the eos_token_id with which transformers takes the output at the largest id

_DEFAULTS = {
    'vision_config': dict(image_size=224, patch_size=32, hidden_size=768, num_hidden_layers=12, num_attention_heads=12,
                          hidden_act='quick_gelu', layer_norm_eps=1e-5),
    'text_config': dict(vocab_size=49408, max_position_embeddings=77, hidden_size=512, num_hidden_layers=12,
                        num_attention_heads=8, hidden_act='quick_gelu', layer_norm_eps=1e-5, eos_token_id=49407)}


def is_transformers_state(state: Mapping[str, Tensor]) -> bool:
    """Return True if the weights have the names of transformers' ``CLIPModel``."""
    return any(key.startswith(('vision_model.', 'text_model.')) for key in state)


def open_clip_state(state: Mapping[str, Tensor]) -> Dict[str, Tensor]:
    """The weights of transformers' ``CLIPModel`` as open_clip's ``CLIP`` has them.

    The projections of queries, keys and values are packed into one, and those into the joint space are transposed. A name that
    transformers does not have stays as it is.

    Args:
        state: ``CLIPModel.state_dict()``.

    Raises:
        ValueError: of the projections of queries, keys and values, one is missing or of another shape or type.
    """
    converted = {}
    for key, value in state.items():
        part = _PART.fullmatch(key)
        if part is None and not key.endswith(_POSITION_IDS):
            converted[_open_clip_name(key)] = value.t() if key in _TRANSPOSED else value
        elif part:
            attention, _, kind = part.groups()
            converted[f'{_open_clip_name(attention)}in_proj_{kind}'] = _packed(state, attention, kind)
    return converted


def flat_settings(config: Mapping[str, Any]) -> Dict[str, Any]:
    """The settings in ``config.json`` of a CLIP of transformers, with their defaults and by dotted names.

    Args:
        config: The content of the file.

    Raises:
        ValueError: the model is of another type, or its activation is none that open_clip's CLIP has; names the key.
    """
    if config['model_type'] != 'clip':
        raise ValueError(f"model_type={shown(config['model_type'])} must be 'clip'")
    settings: Dict[str, Any] = dict(projection_dim=config.get('projection_dim', 512))
    for name, defaults in _DEFAULTS.items():
        # old files have the same settings under two names, of which transformers prefers this one
        part = config.get(name) if config.get(f'{name}_dict') is None else config[f'{name}_dict']
        if not isinstance(part, (dict, type(None))):
            raise ValueError(f'{name} must be an object')
        settings.update({f'{name}.{key}': value for key, value in {**defaults, **(part or {})}.items()})
    activations = [check_choice(key, settings[key], ('quick_gelu', 'gelu'))
                   for key in ('vision_config.hidden_act', 'text_config.hidden_act')]
    if activations[0] != activations[1]:
        raise ValueError(f'vision_config.hidden_act={activations[0]!r} and text_config.hidden_act={activations[1]!r} must be '
                         "the same, because open_clip's CLIP has one activation")
    return settings


def check_settings(settings: Mapping[str, Any], name: str, model_config: Mapping[str, Any]) -> None:
    """Refuse a checkpoint that an open_clip model does not compute as transformers does; the activation is not checked.

    Args:
        settings: See ``flat_settings``.
        name: ``clip.name``, for errors.
        model_config: open_clip's config of that model.

    Raises:
        ValueError: another architecture; names the key of ``config.json`` and the value of the model.
    """
    vision, text = CLIPVisionCfg(**model_config['vision_cfg']), CLIPTextCfg(**model_config['text_cfg'])
    if vision.timm_model_name or text.hf_model_name or text.no_causal_mask or text.pool_type != 'argmax':
        raise ValueError(f"clip.name={shown(name)} has other towers than transformers' CLIP: choose a plain one, e.g. ViT-B-16")
    expected = {
        'projection_dim': model_config['embed_dim'],
        'vision_config.image_size': vision.image_size,
        'vision_config.patch_size': vision.patch_size,
        'vision_config.hidden_size': vision.width,
        'vision_config.num_hidden_layers': vision.layers,
        'vision_config.num_attention_heads': vision.width // vision.head_width,
        'vision_config.layer_norm_eps': (vision.norm_kwargs or {}).get('eps', 1e-5),
        'text_config.vocab_size': text.vocab_size,
        'text_config.max_position_embeddings': text.context_length,
        'text_config.hidden_size': text.width,
        'text_config.num_hidden_layers': text.layers,
        'text_config.num_attention_heads': text.heads,
        'text_config.layer_norm_eps': (text.norm_kwargs or {}).get('eps', 1e-5)}
    for key, value in expected.items():
        if settings[key] != value:
            raise ValueError(f'{key}={shown(settings[key])}, but clip.name={shown(name)} has {value}: choose the clip.name of '
                             'that architecture')
    end = settings['text_config.eos_token_id']
    if end not in (_ARGMAX, text.vocab_size - 1):
        raise ValueError(f'text_config.eos_token_id={shown(end)} must be {text.vocab_size - 1} or {_ARGMAX}: open_clip takes '
                         'the output at the largest token id')


def _open_clip_name(key: str) -> str:
    for old, new in _NAMES.items():
        if key.startswith(old):
            key = new + key[len(old):]
            for old_part, new_part in _NAMES_IN_A_BLOCK.items() if 'resblocks.' in new else ():
                key = key.replace(old_part, new_part)
            break
    return key


def _packed(state: Mapping[str, Tensor], attention: str, kind: str) -> Tensor:
    """Weights or biases of queries, keys and values one below the other, ``(3D, D)`` or ``(3D)``."""
    keys = [f'{attention}{letter}_proj.{kind}' for letter in 'qkv']
    for key in keys:
        if key not in state:
            raise ValueError(f'{key!r} is missing')
    parts = [state[key] for key in keys]
    if len({(part.shape, part.dtype) for part in parts}) > 1:
        raise ValueError(f'{", ".join(map(repr, keys))} must have one shape and type')
    return torch.cat(parts)
