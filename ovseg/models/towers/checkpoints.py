"""Weights from local files, without executing anything that the files hold."""
import json
from pathlib import Path
from typing import Any, Callable, Dict, Optional, Sequence, Union

import torch
from mmengine.runner import CheckpointLoader
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ovseg.models.towers.torch_files import BROKEN, is_torchscript, read_torch_file
from ovseg.models.towers.transformers_format import flat_settings
from ovseg.utils import one_line, quoted

FOLDER_FILES = ('open_clip_model.safetensors', 'open_clip_pytorch_model.bin')
FOLDER_CONFIG = 'open_clip_config.json'
TRANSFORMERS_FILES = ('model.safetensors', 'pytorch_model.bin')
TRANSFORMERS_CONFIG = 'config.json'
PROCESSOR_CONFIG = 'processor_config.json'  # of CLIPProcessor since transformers 5
PREPROCESSOR_CONFIG = 'preprocessor_config.json'
WEIGHTS_FILES = (*FOLDER_FILES, *TRANSFORMERS_FILES)
CONFIG_FILES = (FOLDER_CONFIG, TRANSFORMERS_CONFIG, PROCESSOR_CONFIG, PREPROCESSOR_CONFIG)
_OPENAI_KEYS = ('input_resolution', 'context_length', 'vocab_size')  # only OpenAI's own archives carry them
_WEIGHT_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.bool, torch.uint8, torch.int8, torch.int16,
                 torch.int32, torch.int64)


def read_checkpoint(path: Path, containers: Sequence[str] = ('state_dict',)) -> Dict[str, Any]:
    """Content of a checkpoint: ``.safetensors``, a TorchScript archive such as OpenAI's, or a file of ``torch.save``.

    Args:
        path: The file. Its weights are the whole content or, in a training checkpoint, in the first of ``containers`` there is.
        containers: Keys of a training checkpoint.

    Raises:
        ValueError: the file is broken, holds anything but containers, strings, numbers and tensors, or its weights are not
            named tensors of finite numbers. The message does not name the file.
    """
    try:
        checkpoint = load_file(path) if path.suffix == '.safetensors' else read_torch_file(path)
    except (*BROKEN, SafetensorError) as error:
        raise ValueError(f'it cannot be read ({one_line(error)})') from error
    _check_weights(_weights(checkpoint, containers) if isinstance(checkpoint, dict) else checkpoint)
    return checkpoint


def read_state_dict(path: Path, containers: Sequence[str] = ('state_dict',)) -> Dict[str, Tensor]:
    """The weights of a checkpoint, without DDP's ``module.`` and OpenAI's own keys; see ``read_checkpoint``."""
    weights = _weights(read_checkpoint(path, containers), containers)
    state = {key.removeprefix('module.'): value for key, value in weights.items()}
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


def _weights(checkpoint: Dict[str, Any], containers: Sequence[str]) -> Any:
    return next((checkpoint[key] for key in containers if key in checkpoint), checkpoint)


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

    For a file of transformers the settings are translated, and those of its ``config.json`` are under ``'transformers'``.

    Raises:
        ValueError: it is not valid JSON, or not in open_clip's or transformers' format.
    """
    if path.name in TRANSFORMERS_FILES:
        return _transformers_settings(path.parent)
    record = path.parent / FOLDER_CONFIG
    if path.name not in FOLDER_FILES:
        return {}
    settings = _read_object(record)
    for key in ('model_cfg', 'preprocess_cfg'):
        if not isinstance(settings.get(key, {}), dict):
            raise ValueError(f'{quoted(record)}: {key} must be an object')
    if not isinstance(settings.get('model_cfg', {}).get('quick_gelu', False), bool):
        raise ValueError(f'{quoted(record)}: model_cfg.quick_gelu must be true or false')
    for key in ('mean', 'std'):
        _check_normalisation(record, f'preprocess_cfg.{key}', settings.get('preprocess_cfg', {}).get(key))
    return settings


def recorded_activation(path: Path) -> Optional[bool]:
    """True if the weights were trained with QuickGELU, as OpenAI's archives always were; None if that is unknown."""
    config = recorded_settings(path).get('model_cfg')
    if config is not None:
        return bool(config.get('quick_gelu', False))
    return True if is_torchscript(path) else None


def _transformers_settings(folder: Path) -> Dict[str, Any]:
    record = folder / TRANSFORMERS_CONFIG
    config = _read_object(record)
    if 'model_type' not in config:
        return {}
    try:
        settings = flat_settings(config)
    except ValueError as error:
        raise ValueError(f'{quoted(record)}: {error}') from error
    return dict(model_cfg=dict(quick_gelu=settings['vision_config.hidden_act'] == 'quick_gelu'),
                preprocess_cfg=_transformers_normalisation(folder), transformers=settings)


def _transformers_normalisation(folder: Path) -> Dict[str, Any]:
    record = folder / PROCESSOR_CONFIG
    processor = _read_object(record).get('image_processor')
    if processor is None:
        record = folder / PREPROCESSOR_CONFIG
        processor = _read_object(record)
    if not isinstance(processor, dict):
        raise ValueError(f'{quoted(record)}: image_processor must be an object')
    for key in ('image_mean', 'image_std'):
        _check_normalisation(record, key, processor.get(key))
    return dict(mean=processor.get('image_mean'), std=processor.get('image_std'))


def _read_object(path: Path) -> Dict[str, Any]:
    """The object in a JSON file; empty if there is no such file."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f'{quoted(path)} is not valid JSON: {one_line(error)}') from error
    if not isinstance(content, dict):
        raise ValueError(f'{quoted(path)} must be a JSON object')
    return content


def _check_normalisation(record: Path, key: str, numbers: Any) -> None:
    is_std = key.endswith('std')
    if numbers is not None and not (isinstance(numbers, list) and len(numbers) == 3 and all(
            type(number) in (int, float) and 0 <= number <= 1 and (number or not is_std) for number in numbers)):
        raise ValueError(f'{quoted(record)}: {key} must be three numbers from 0{" (not itself)" * is_std} to 1')
