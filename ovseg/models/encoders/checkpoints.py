"""Weights from local files, never by executing a pickle."""
import json
import struct
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Dict, Optional

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

FOLDER_FILES = ('open_clip_model.safetensors', 'open_clip_pytorch_model.bin')
FOLDER_CONFIG = 'open_clip_config.json'
_OPENAI_KEYS = ('input_resolution', 'context_length', 'vocab_size')  # only OpenAI's own archives carry them


def read_state_dict(path: Path) -> Dict[str, Tensor]:
    """The tensors of a checkpoint: ``.safetensors``, an OpenAI TorchScript archive, or what ``torch.save`` wrote.

    A training checkpoint's ``state_dict`` is unpacked, DDP's ``module.`` and OpenAI's own keys are removed.

    Raises:
        ValueError: the file is broken, holds anything but tensors, or needs a pickle to be executed.
    """
    try:
        state = _read(path)
    except (RuntimeError, EOFError, OSError, LookupError, TypeError, ValueError, AttributeError, AssertionError, struct.error,
            UnpicklingError, SafetensorError) as error:  # damaged bytes raise any of these inside torch
        raise ValueError(f'it cannot be read ({error})') from error
    if isinstance(state, dict) and 'state_dict' in state:
        state = state['state_dict']
    if not isinstance(state, dict) or not state:
        raise ValueError(f'it is not a dict of tensors but a {type(state).__name__}')
    if not all(isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()):
        raise ValueError('not everything in it is a named tensor')
    state = {key.removeprefix('module.'): value for key, value in state.items()}
    return {key: value for key, value in state.items() if key not in _OPENAI_KEYS}


def recorded_settings(path: Path) -> Dict[str, Any]:
    """``open_clip_config.json`` beside a weights file of a Hugging Face folder; empty where there is none."""
    record = path.parent / FOLDER_CONFIG
    if path.name not in FOLDER_FILES or not record.is_file():
        return {}
    try:
        return json.loads(record.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f'{record} is not valid JSON: {error}') from error


def recorded_activation(path: Path) -> Optional[bool]:
    """Whether the weights were trained with QuickGELU, where file or folder tell; OpenAI's archives always were."""
    config = recorded_settings(path).get('model_cfg')
    if config is not None:
        return bool(config.get('quick_gelu', False))
    return True if is_torchscript(path) else None


def is_torchscript(path: Path) -> bool:
    """Whether a file is an archive of ``torch.jit.save``."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any('/code/' in name for name in archive.namelist())


def _read(path: Path) -> Any:
    if path.suffix == '.safetensors':
        return load_file(path)
    if is_torchscript(path):
        return dict(torch.jit.load(str(path), map_location='cpu').state_dict())
    return torch.load(path, map_location='cpu', weights_only=True)
