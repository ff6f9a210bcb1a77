"""CLIP models from open_clip: by name and tag, or from a local checkpoint, of which nothing is executed."""
import difflib
import os
import uuid
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple, Union

import open_clip
from mmengine.logging import print_log
from open_clip.model import convert_to_custom_text_state_dict
from open_clip.pretrained import download_pretrained
from torch import Tensor, nn

from ovseg.digests import file_digest
from ovseg.models.encoders import tiny_clip
from ovseg.models.encoders.checkpoints import FOLDER_FILES, read_state_dict, recorded_activation, recorded_settings
from ovseg.utils import expanded, one_line, quoted, shown

EMBEDDED = 'embedded'
RANDOM = f'random weights of process {uuid.uuid4().hex}'

open_clip.add_model_config(tiny_clip.CONFIG_FILE)


class LoadedCLIP(NamedTuple):
    """A CLIP model with what it takes to feed it: its tokenizer, and the mean and deviation of RGB in [0, 1]."""
    model: Union[open_clip.CLIP, open_clip.CustomTextCLIP]
    tokenizer: Callable[[List[str]], Tensor]
    mean: Tuple[float, ...]
    std: Tuple[float, ...]


def load_clip(clip_model: str, pretrained: Optional[str]) -> LoadedCLIP:
    """Build an open_clip model and load its weights.

    Args:
        clip_model: open_clip's name, e.g. ``'ViT-B-16-quickgelu'``, or ``'ovseg-tiny-clip'``.
        pretrained: A tag of that model (``'openai'``, ...), a local file (``.pt``, ``.bin``, ``.pth``, ``.safetensors``,
            an OpenAI JIT archive), a folder as open_clip saves it for the Hugging Face hub, ``'embedded'`` for the tiny
            CLIP, or None for random weights.

    Raises:
        ValueError: an unknown model or tag, weights trained with another activation, or weights of another shape.
        FileNotFoundError: the weights are not on disk and cannot be downloaded.
    """
    config = _model_config(clip_model)
    if pretrained == '' or not isinstance(pretrained, (str, type(None))):
        raise ValueError(f'pretrained={shown(pretrained)} must be a tag, a path, or None')
    if pretrained is None:
        print_log(f'pretrained=None: {clip_model} runs with random weights, so its labels mean nothing', 'current', 30)
        return _clip(clip_model, open_clip.create_model(clip_model), {})
    tag = open_clip.get_pretrained_cfg(clip_model, pretrained)
    quick_gelu = config.get('quick_gelu', False)
    if tag:
        _check_activation(clip_model, f'pretrained={shown(pretrained)}', quick_gelu, tag.get('quick_gelu', False))
    path = _weights_file(clip_model, pretrained)
    trained_with = None if tag else recorded_activation(path)
    if trained_with is not None:
        _check_activation(clip_model, quoted(path), quick_gelu, trained_with)
    model = _build(clip_model, config)
    _load(model, clip_model, path)
    return _clip(clip_model, model, tag or recorded_settings(path).get('preprocess_cfg', {}))


def weights_digest(clip_model: str, pretrained: Optional[str]) -> str:
    """Digest of the file that ``load_clip`` reads; for random weights a text that no other process has.

    Raises:
        ValueError: as ``load_clip``.
        FileNotFoundError: as ``load_clip``.
    """
    return RANDOM if pretrained is None else file_digest(_weights_file(clip_model, pretrained))


def _weights_file(clip_model: str, pretrained: str) -> Path:
    tag = open_clip.get_pretrained_cfg(clip_model, pretrained)
    return _download(clip_model, pretrained, tag) if tag else _local_file(clip_model, pretrained)


def _clip(clip_model: str, model: nn.Module, preprocess: Dict[str, Any]) -> LoadedCLIP:
    return LoadedCLIP(model, open_clip.get_tokenizer(clip_model),
                tuple(preprocess.get('mean') or open_clip.OPENAI_DATASET_MEAN),
                tuple(preprocess.get('std') or open_clip.OPENAI_DATASET_STD))


def _model_config(clip_model: str) -> Dict[str, Any]:
    if not isinstance(clip_model, str):
        raise ValueError(f'clip_model={shown(clip_model)} must be a name, e.g. ViT-B-16-quickgelu')
    config = open_clip.get_model_config(clip_model)
    if config is None:
        near = difflib.get_close_matches(clip_model, open_clip.list_models(), 3)
        raise ValueError(f'clip_model={shown(clip_model)} is not an open_clip model; '
                         + (f'did you mean {", ".join(map(repr, near))}?' if near else
                            'open_clip.list_models() lists them, e.g. ViT-B-16-quickgelu'))
    return config


def _check_activation(clip_model: str, weights: str, model_quick: bool, weights_quick: bool) -> None:
    """QuickGELU weights in a GELU model (or the reverse) load without complaint and are silently worse."""
    if model_quick == weights_quick:
        return
    base = clip_model.replace('-quickgelu', '')
    right = f'{base}-quickgelu' if weights_quick else base
    names = {True: 'QuickGELU', False: 'GELU'}
    advice = f': set clip_model={right!r}' if open_clip.get_model_config(right) else f', and there is no {right!r}'
    raise ValueError(f'{weights} was trained with {names[weights_quick]}, but clip_model={shown(clip_model)} computes '
                     f'{names[model_quick]}{advice}')


def _download(clip_model: str, pretrained: str, tag: Dict[str, Any]) -> Path:
    try:
        return Path(download_pretrained(tag))
    except (OSError, RuntimeError, ValueError) as error:
        hub = tag.get('hf_hub', '').strip('/')
        source, target = (f'{hub} on the Hugging Face hub', '$HF_HOME (default ~/.cache/huggingface)') if hub else \
                         (tag['url'], '~/.cache/clip')
        call = f"python -c \"import open_clip; open_clip.create_model('{clip_model}', '{pretrained}')\""
        raise FileNotFoundError(
            f'the weights of {clip_model} ({pretrained}) are not on this machine and could not be downloaded.\n'
            f'  needed: {source}\n  looked in: {target}\n'
            f'  to fetch them beforehand, run with network: {call}\n'
            f'  then copy that folder here, or copy the file and set pretrained=/path/to/file\n'
            f'  the download said: {error}') from error


def _local_file(clip_model: str, pretrained: str) -> Path:
    """The weights file that ``pretrained`` names: itself, inside its folder, or the embedded one."""
    if pretrained == EMBEDDED and clip_model == tiny_clip.MODEL_NAME:
        return tiny_clip.WEIGHTS_FILE
    path = expanded('pretrained', pretrained)
    if os.path.isfile(path):
        return path
    if os.path.isdir(path):
        for name in FOLDER_FILES:
            if (path / name).is_file():
                return path / name
        raise FileNotFoundError(f'pretrained={shown(pretrained)} is a folder without {" or ".join(FOLDER_FILES)}')
    tags = open_clip.list_pretrained_tags_by_model(clip_model)
    if clip_model == tiny_clip.MODEL_NAME:
        tags = [EMBEDDED]
    raise ValueError(f'pretrained={shown(pretrained)} is neither a tag of {clip_model} ({", ".join(tags) or "it has none"}) '
                     f'nor a file or folder (looked at {quoted(path.absolute())})')


def _build(clip_model: str, config: Dict[str, Any]) -> Union[open_clip.CLIP, open_clip.CustomTextCLIP]:
    """An open_clip model that waits for its weights."""
    if 'multimodal_cfg' in config:
        raise ValueError(f'clip_model={clip_model!r} is a CoCa model, whose image tower pools by attention: choose a plain ViT')
    custom_text = config.pop('custom_text', False) or 'hf_model_name' in config['text_cfg']
    config['text_cfg']['hf_model_pretrained'] = False  # its weights are in the checkpoint, too
    return (open_clip.CustomTextCLIP if custom_text else open_clip.CLIP)(**config)


def _load(model: Union[open_clip.CLIP, open_clip.CustomTextCLIP], clip_model: str, path: Path) -> None:
    """Fill every parameter of ``model`` from ``path``."""
    try:
        state = read_state_dict(path)
        if 'positional_embedding' in state and not hasattr(model, 'positional_embedding'):
            state = convert_to_custom_text_state_dict(state)
        if 'logit_scale' in state and state['logit_scale'].numel() == 1:  # a scalar in some releases, a vector in others
            state['logit_scale'] = state['logit_scale'].reshape(model.logit_scale.shape)
        for key, value in model.state_dict().items():
            if key in state and value.is_floating_point() and not state[key].is_floating_point():
                raise ValueError(f'{key!r} is of the type {state[key].dtype}, but the model has floating-point numbers there')
        model.load_state_dict(state)
    except (ValueError, RuntimeError) as error:
        raise ValueError(f'{quoted(path)} does not hold the weights of {clip_model}: {one_line(error)}') from error
