"""Weights from local files, without executing anything that the files hold."""
import json
from pathlib import Path
from typing import Any, Callable, Dict, Optional, Union

import torch
from mmengine.runner import CheckpointLoader
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ovseg.models.towers.torch_files import BROKEN, is_torchscript, read_torch_file
from ovseg.utils import one_line, quoted

FOLDER_FILES = ('open_clip_model.safetensors', 'open_clip_pytorch_model.bin')
FOLDER_CONFIG = 'open_clip_config.json'
_OPENAI_KEYS = ('input_resolution', 'context_length', 'vocab_size')  # only OpenAI's own archives carry them
_WEIGHT_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.bool, torch.uint8, torch.int8, torch.int16,
                 torch.int32, torch.int64)


def read_checkpoint(path: Path) -> Dict[str, Any]:
    """Content of a checkpoint: ``.safetensors``, a TorchScript archive such as OpenAI's, or a file of ``torch.save``.

    Args:
        path: The file. Its weights are the whole content or, in a training checkpoint, ``state_dict``.

    Raises:
        ValueError: the file is broken, holds anything but containers, strings, numbers and tensors, or its weights are not
            named tensors of finite numbers. The message does not name the file.
    """
    try:
        checkpoint = load_file(path) if path.suffix == '.safetensors' else read_torch_file(path)
    except (*BROKEN, SafetensorError) as error:
        raise ValueError(f'it cannot be read ({one_line(error)})') from error
    _check_weights(checkpoint['state_dict'] if isinstance(checkpoint, dict) and 'state_dict' in checkpoint else checkpoint)
    return checkpoint


def read_state_dict(path: Path) -> Dict[str, Tensor]:
    """The weights of a checkpoint, without DDP's ``module.`` and OpenAI's own keys.

    Raises:
        ValueError: see ``read_checkpoint``.
    """
    checkpoint = read_checkpoint(path)
    state = {key.removeprefix('module.'): value for key, value in checkpoint.get('state_dict', checkpoint).items()}
    return {key: value for key, value in state.items() if key not in _OPENAI_KEYS}


@CheckpointLoader.register_scheme(list(CheckpointLoader._schemes), force=True)  # noqa: SLF001  it has no other list
def load_from_file(filename: str, map_location: Union[str, torch.device, Callable, None] = None) -> Dict[str, Any]:
    """Read a checkpoint for mmengine: ``load_from``, ``resume``, ``init_cfg`` and ``mmengine.runner.load_checkpoint``.

    Replaces all loaders of mmengine, which call ``torch.load``. The configs in a checkpoint are left out, because mmengine
    would execute them.

    Args:
        filename: A local file; anything else has to be downloaded first.
        map_location: Ignored: tensors are on the CPU, and ``load_state_dict`` copies them to where the model is.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: see ``read_checkpoint``; names the file.
    """
    if '://' in filename:
        raise ValueError(f'{filename!r} is no local file: download it, and name the file')
    path = Path(filename).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f'there is no checkpoint file {filename!r}')
    try:
        checkpoint = read_checkpoint(path)
    except ValueError as error:
        raise ValueError(f'{quoted(path)} is no checkpoint: {one_line(error)}') from error
    hub = checkpoint.get('message_hub')
    for record in (checkpoint.get('meta'), *(hub.values() if isinstance(hub, dict) else ())):
        if isinstance(record, dict):
            for key in ('cfg', 'config'):
                record.pop(key, None)
    return checkpoint


def _check_weights(state: Any) -> None:
    if not isinstance(state, dict):
        raise ValueError(f'it is not a dict of tensors but a {type(state).__name__}')
    if not state:
        raise ValueError('it is a dict without tensors')
    if not all(isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()):
        raise ValueError('not everything in it is a named tensor')
    for key, value in state.items():
        if value.dtype not in _WEIGHT_TYPES:
            raise ValueError(f'{key!r} is of the type {value.dtype}, which weights cannot have')
        # minimum and maximum, because they take no memory; in float32, the type of the models
        if value.is_floating_point() and value.numel() and not torch.stack(value.float().aminmax()).isfinite().all():
            raise ValueError(f'{key!r} holds NaN or infinite numbers')


def recorded_settings(path: Path) -> Dict[str, Any]:
    """``open_clip_config.json`` beside a weights file of a Hugging Face folder; empty if there is none.

    Raises:
        ValueError: it is not valid JSON, or not in open_clip's format.
    """
    record = path.parent / FOLDER_CONFIG
    if path.name not in FOLDER_FILES or not record.is_file():
        return {}
    try:
        settings = json.loads(record.read_text(encoding='utf-8'))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f'{quoted(record)} is not valid JSON: {one_line(error)}') from error
    if not isinstance(settings, dict):
        raise ValueError(f'{quoted(record)} must be a JSON object')
    for key in ('model_cfg', 'preprocess_cfg'):
        if not isinstance(settings.get(key, {}), dict):
            raise ValueError(f'{quoted(record)}: {key} must be an object')
    if not isinstance(settings.get('model_cfg', {}).get('quick_gelu', False), bool):
        raise ValueError(f'{quoted(record)}: model_cfg.quick_gelu must be true or false')
    for key in ('mean', 'std'):
        numbers = settings.get('preprocess_cfg', {}).get(key)
        if numbers is not None and not (isinstance(numbers, list) and len(numbers) == 3 and all(
                type(number) in (int, float) and 0 <= number <= 1 and (number or key == 'mean') for number in numbers)):
            raise ValueError(f'{quoted(record)}: preprocess_cfg.{key} must be three numbers from 0'
                             f'{" (not itself)" * (key == "std")} to 1')
    return settings


def recorded_activation(path: Path) -> Optional[bool]:
    """True if the weights were trained with QuickGELU, as OpenAI's archives always were; None if that is unknown."""
    config = recorded_settings(path).get('model_cfg')
    if config is not None:
        return bool(config.get('quick_gelu', False))
    return True if is_torchscript(path) else None
