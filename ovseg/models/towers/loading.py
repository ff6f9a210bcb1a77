"""CLIP models from open_clip: by name and tag, or from a local checkpoint, of which nothing is executed."""
import difflib
import os
import uuid
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Callable, Dict, Mapping, Optional, Tuple, Union

import open_clip
import torch
from huggingface_hub import hf_hub_download, snapshot_download
from huggingface_hub.constants import HF_HUB_CACHE
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from mmengine.logging import print_log
from open_clip.model import convert_to_custom_text_state_dict
from open_clip.pretrained import download_pretrained
from torch import Tensor, nn

from ovseg.digests import file_digest
from ovseg.models.hub import cache_if_unreachable
from ovseg.models.text import TextEncoder
from ovseg.models.towers import tiny_clip
from ovseg.models.towers.adapters import image_tower
from ovseg.models.towers.checkpoints import (
    CONFIG_FILES,
    TRANSFORMERS_CONFIG,
    WEIGHTS_FILES,
    read_state_dict,
    recorded_activation,
    recorded_settings,
)
from ovseg.models.towers.image_tower import ImageTower
from ovseg.models.towers.transformers_format import check_settings, is_transformers_state, open_clip_state
from ovseg.utils import check_arguments, expanded, one_line, quoted, shown

EMBEDDED = 'embedded'
HUB = 'hf-hub:'
RANDOM = f'random weights of process {uuid.uuid4().hex}'

open_clip.add_model_config(tiny_clip.CONFIG_FILE)


@dataclass(frozen=True)
class LoadedCLIP:
    """A CLIP model with its weights, which several segmentors may share.

    Args:
        image_tower: The image tower.
        text_encoder: The text tower with its tokenizer.
        mean: Mean of RGB in [0, 1] that the image tower was trained with.
        std: Its deviation.
    """
    image_tower: ImageTower
    text_encoder: TextEncoder
    mean: Tuple[float, ...]
    std: Tuple[float, ...]
    _copies: Dict[torch.dtype, ImageTower] = field(default_factory=dict, repr=False, compare=False)
    _networks: Dict[Any, Optional[nn.Module]] = field(default_factory=dict, repr=False, compare=False)

    def image_tower_in(self, dtype: torch.dtype) -> ImageTower:
        """The image tower in another type: a copy, made once. The tower itself is not changed.

        Raises:
            ValueError: the tower is not in float32, and ``dtype`` is another type than its own.
        """
        if dtype == self.image_tower.dtype:
            return self.image_tower
        if self.image_tower.dtype != torch.float32:
            raise ValueError(f'image_encoder.precision: the weights are in {self.image_tower.dtype} already, which cannot '
                             f"become {dtype}: build the segmentor with precision='fp32' to vary it")
        if dtype not in self._copies:
            self._copies[dtype] = deepcopy(self.image_tower).to(dtype)
        return self._copies[dtype]

    def with_tower(self, tower: ImageTower) -> 'LoadedCLIP':
        """The same CLIP with another image tower, of which copies in other types are made anew."""
        return replace(self, image_tower=tower, _copies={})

    def guide_network(self, guide: Any) -> Optional[nn.Module]:
        """The network of ``Guide.load``, loaded once for equal guides of all segmentors that share the CLIP."""
        if guide not in self._networks:
            self._networks[guide] = guide.load()
        return self._networks[guide]


def describe_tower(name: str) -> ImageTower:
    """The image tower of an open_clip model on the device ``meta``: all its sizes, and no weights.

    Raises:
        ValueError: an unknown model, or one whose image tower ovseg has no adapter for.
    """
    config = _model_config(name)
    with torch.device('meta'):  # with another text tower than the model's, which may need downloads
        clip = open_clip.CLIP(config['embed_dim'], config['vision_cfg'], open_clip.CLIPTextCfg(layers=1),
                              quick_gelu=config.get('quick_gelu', False))
        try:
            return image_tower(clip.visual)
        except TypeError as error:
            raise ValueError(f'clip.name={shown(name)}: {error}') from error


def load_clip(name: str, pretrained: Optional[str]) -> LoadedCLIP:
    """Build an open_clip model and load its weights.

    Args:
        name: open_clip's name, e.g. ``'ViT-B-16-quickgelu'``, or ``'ovseg-tiny-clip'``.
        pretrained: A tag of that model (``'openai'``, ...), a local file (``.pt``, ``.bin``, ``.pth``, ``.safetensors``,
            an OpenAI JIT archive), a folder as open_clip or transformers' ``CLIPModel`` saves it, the same on the Hugging
            Face hub (``'hf-hub:openai/clip-vit-base-patch16'``), ``'embedded'`` for the tiny CLIP, or None for random
            weights.

    Raises:
        ValueError: an unknown model or tag, weights trained with another activation, or weights of another architecture.
        FileNotFoundError: the weights, or the tokenizer of SigLIP, are not on disk and cannot be downloaded.
    """
    config = _model_config(name)
    if pretrained == '' or not isinstance(pretrained, (str, type(None))):
        raise ValueError(f'clip.pretrained={shown(pretrained)} must be a tag, a path, or None')
    if pretrained is None:
        print_log(f'clip.pretrained=None: {name} runs with random weights, so its labels mean nothing', 'current', 30)
        return _clip(open_clip.create_model(name), _tokenizer(name, config), {}, cache=False)
    tag = open_clip.get_pretrained_cfg(name, pretrained)
    quick_gelu = config.get('quick_gelu', False)
    if tag:
        _check_activation(name, f'clip.pretrained={shown(pretrained)}', quick_gelu, tag.get('quick_gelu', False))
    path = _weights_file(name, pretrained)
    recorded = {} if tag else recorded_settings(path)
    if 'transformers' in recorded:
        _check_architecture(name, path, recorded['transformers'], config)
    trained_with = None if tag else recorded_activation(path)
    if trained_with is not None:
        _check_activation(name, quoted(path), quick_gelu, trained_with)
    tokenizer, model = _tokenizer(name, config), _build(config)
    _load(model, name, path)
    return _clip(model, tokenizer, tag or {**_usual_preprocess(name), **recorded.get('preprocess_cfg', {})})


def load_checked(clip: Union[Mapping[str, Any], LoadedCLIP], check: Callable[[ImageTower], None],
                 dtype: torch.dtype) -> LoadedCLIP:
    """The CLIP of a config, its image tower in ``dtype``, after ``check`` has seen the tower without weights.

    Args:
        clip: The keywords of ``load_clip``; or a CLIP, which is returned as it is.
        check: Raises an error for a tower that cannot be used.
        dtype: Type of the image tower's weights.

    Raises:
        ValueError: no such config; as ``load_clip`` and ``check``.
    """
    if isinstance(clip, LoadedCLIP):
        check(clip.image_tower)
        return clip
    if not isinstance(clip, Mapping):
        raise ValueError(f"clip={shown(clip)} must be a LoadedCLIP or a dict, e.g. clip=dict(name='ViT-B-16-quickgelu', "
                         "pretrained='openai')")
    check_arguments('clip', load_clip, clip)
    check(describe_tower(clip['name']))
    loaded = load_clip(**clip)
    loaded.image_tower.to(dtype)
    return loaded


def weights_digest(name: str, pretrained: Optional[str]) -> str:
    """Digest of the file that ``load_clip`` reads; for random weights a text that no other process has.

    Raises:
        ValueError: as ``load_clip``.
        FileNotFoundError: as ``load_clip``.
    """
    return RANDOM if pretrained is None else file_digest(_weights_file(name, pretrained))


def _weights_file(name: str, pretrained: str) -> Path:
    tag = open_clip.get_pretrained_cfg(name, pretrained)
    if tag:
        return _download(name, pretrained, tag)
    return _download_folder(pretrained) if pretrained.startswith(HUB) else _local_file(name, pretrained)


def _clip(model: Any, tokenizer: Callable[..., Tensor], preprocess: Dict[str, Any], cache: bool = True) -> LoadedCLIP:
    tower = image_tower(model.visual)
    del model.visual  # the tower owns it now
    return LoadedCLIP(tower, TextEncoder(model, tokenizer, cache=cache),
                      tuple(preprocess.get('mean') or open_clip.OPENAI_DATASET_MEAN),
                      tuple(preprocess.get('std') or open_clip.OPENAI_DATASET_STD))


def _usual_preprocess(name: str) -> Dict[str, Any]:
    """Mean and deviation of RGB that all weights of the model in open_clip share; nothing where they differ."""
    settings = [open_clip.get_pretrained_cfg(name, tag) for tag in open_clip.list_pretrained_tags_by_model(name)]
    usual = [{key: setting[key] for key in ('mean', 'std')} for setting in settings]
    return usual[0] if usual and all(other == usual[0] for other in usual) else {}


def _tokenizer(name: str, config: Dict[str, Any]) -> Callable[..., Tensor]:
    """The model's tokenizer, which for SigLIP and others comes from the Hugging Face hub."""
    of_hub = config['text_cfg'].get('hf_tokenizer_name')
    try:
        with cache_if_unreachable() if of_hub else nullcontext():
            return open_clip.get_tokenizer(name)
    except (ImportError, OSError, ValueError) as error:
        raise FileNotFoundError(f'the tokenizer of {name} needs the package transformers and {of_hub} of the Hugging Face hub, '
                                f'and cannot be loaded: {one_line(error)}') from error


def _model_config(name: str) -> Dict[str, Any]:
    if not isinstance(name, str):
        raise ValueError(f'clip.name={shown(name)} must be a name, e.g. ViT-B-16-quickgelu')
    config = open_clip.get_model_config(name)
    if config is None:
        near = difflib.get_close_matches(name, open_clip.list_models(), 3)
        raise ValueError(f'clip.name={shown(name)} is not an open_clip model; '
                         + (f'did you mean {", ".join(map(repr, near))}?' if near else
                            'open_clip.list_models() lists them, e.g. ViT-B-16-quickgelu'))
    if 'multimodal_cfg' in config:
        raise ValueError(f'clip.name={name!r} is a CoCa model, whose image tower pools by attention: choose a plain ViT')
    return config


def _check_activation(name: str, weights: str, model_quick: bool, weights_quick: bool) -> None:
    """Refuse weights of another activation: QuickGELU weights in a GELU model load without an error and give worse labels."""
    if model_quick == weights_quick:
        return
    base = name.replace('-quickgelu', '')
    right = f'{base}-quickgelu' if weights_quick else base
    names = {True: 'QuickGELU', False: 'GELU'}
    advice = f': set clip.name={right!r}' if open_clip.get_model_config(right) else f', and there is no {right!r}'
    raise ValueError(f'{weights} was trained with {names[weights_quick]}, but clip.name={shown(name)} computes '
                     f'{names[model_quick]}{advice}')


def _check_architecture(name: str, path: Path, settings: Dict[str, Any], config: Dict[str, Any]) -> None:
    try:
        check_settings(settings, name, config)
    except ValueError as error:
        raise ValueError(f'{quoted(path.parent / TRANSFORMERS_CONFIG)}: {error}') from error


def _download(name: str, pretrained: str, tag: Dict[str, Any]) -> Path:
    hub = tag.get('hf_hub', '').strip('/')
    try:
        with cache_if_unreachable() if hub else nullcontext():
            return Path(download_pretrained(tag))
    except (OSError, RuntimeError, ValueError) as error:
        source, target = (
            (f'{hub} on the Hugging Face hub', HF_HUB_CACHE) if hub else (tag['url'], os.path.expanduser('~/.cache/clip')))
        call = f"import open_clip; open_clip.create_model('{name}', '{pretrained}')"
        raise _unavailable(f'{name} ({pretrained}{_size(name)})', source, target, call, error) from error


def _download_folder(pretrained: str) -> Path:
    """The weights file of a repository on the Hugging Face hub, with its configs beside it."""
    repository = pretrained[len(HUB):]
    try:
        with cache_if_unreachable():
            folder = Path(snapshot_download(repository, allow_patterns=list(CONFIG_FILES)))
            for file in WEIGHTS_FILES:
                if (folder / file).is_file():
                    return folder / file
            for file in WEIGHTS_FILES:
                try:
                    return Path(hf_hub_download(repository, file))
                except LocalEntryNotFoundError:  # the hub cannot be reached and may have it
                    raise
                except EntryNotFoundError:
                    continue
            raise FileNotFoundError(f'the repository has none of {", ".join(WEIGHTS_FILES)}')
    except (OSError, RuntimeError, ValueError, EntryNotFoundError) as error:
        call = f"import huggingface_hub; huggingface_hub.snapshot_download({shown(repository)})"
        source = f'{quoted(repository)} on the Hugging Face hub'
        raise _unavailable(f'clip.pretrained={shown(pretrained)}', source, HF_HUB_CACHE, call, error) from error


def _size(name: str) -> str:
    """Size of a model's weights in float32; nothing for text towers that only the hub describes."""
    config = _model_config(name)
    if 'hf_model_name' in config['text_cfg']:
        return ''
    with torch.device('meta'):
        model = _build(config)
    return f', {sum(parameter.numel() for parameter in model.parameters()) * 4 / 1e6:.0f} MB'


def _unavailable(weights: str, source: str, target: str, call: str, error: BaseException) -> FileNotFoundError:
    return FileNotFoundError(
        f'the weights of {weights} are not on this machine and could not be downloaded.\n'
        f'  needed: {source}\n  looked in: {quoted(target)}\n'
        f'  to fetch them beforehand, run with network: python -c "{call}"\n'
        f'  then copy the folder {quoted(Path(target).name)} of that machine to the place above, or copy the file and set '
        'model.clip.pretrained=/path/to/file (--cfg-options on the command line)\n'
        f'  the download said: {error}')


def _local_file(name: str, pretrained: str) -> Path:
    """The weights file that ``pretrained`` names: itself, inside its folder, or the embedded one."""
    if pretrained == EMBEDDED and name == tiny_clip.MODEL_NAME:
        return tiny_clip.WEIGHTS_FILE
    path = expanded('clip.pretrained', pretrained)
    if os.path.isfile(path):
        return path
    if os.path.isdir(path):
        for file in WEIGHTS_FILES:
            if (path / file).is_file():
                return path / file
        raise FileNotFoundError(f'clip.pretrained={shown(pretrained)} is a folder without any of {", ".join(WEIGHTS_FILES)}')
    tags = open_clip.list_pretrained_tags_by_model(name)
    if name == tiny_clip.MODEL_NAME:
        tags = [EMBEDDED]
    raise ValueError(f'clip.pretrained={shown(pretrained)} is neither a tag of {name} ({", ".join(tags) or "it has none"}) '
                     f'nor a file or folder (looked at {quoted(path.absolute())})')


def _build(config: Dict[str, Any]) -> Union[open_clip.CLIP, open_clip.CustomTextCLIP]:
    """An open_clip model that waits for its weights."""
    custom_text = config.pop('custom_text', False) or 'hf_model_name' in config['text_cfg']
    config['text_cfg']['hf_model_pretrained'] = False  # its weights are in the checkpoint, too
    return (open_clip.CustomTextCLIP if custom_text else open_clip.CLIP)(**config)


def _load(model: Union[open_clip.CLIP, open_clip.CustomTextCLIP], name: str, path: Path) -> None:
    """Fill every parameter of ``model`` from ``path``."""
    try:
        state = read_state_dict(path)
        if is_transformers_state(state):
            state = open_clip_state(state)
        if 'positional_embedding' in state and not hasattr(model, 'positional_embedding'):
            state = convert_to_custom_text_state_dict(state)
        if 'logit_scale' in state and state['logit_scale'].numel() == 1:  # a scalar in some releases, a vector in others
            state['logit_scale'] = state['logit_scale'].reshape(model.logit_scale.shape)
        for key, value in model.state_dict().items():
            if key in state and value.is_floating_point() and not state[key].is_floating_point():
                raise ValueError(f'{key!r} is of the type {state[key].dtype}, but the model has floating-point numbers there')
        model.load_state_dict(state)
    except (ValueError, RuntimeError) as error:
        raise ValueError(f'{quoted(path)} does not hold the weights of {name}: {one_line(error)}') from error
