"""timm's self-supervised vision transformers and SAM's encoder as guides."""
import difflib
import inspect
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Dict, Mapping, Tuple, Union

import timm
import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.constants import HF_HUB_CACHE
from mmengine.logging import print_log
from torch import Tensor, nn

from ovseg.components import named_errors
from ovseg.digests import file_digest
from ovseg.models.guides.guide import Guide, check_features
from ovseg.models.guides.timm_network import BLOCKS, FAMILIES, TimmNetwork
from ovseg.models.hub import cache_if_unreachable
from ovseg.models.towers.checkpoints import read_state_dict
from ovseg.models.towers.loading import RANDOM
from ovseg.models.window_batch import GuideFeatures, WindowBatch
from ovseg.precision import PRECISIONS
from ovseg.registry import GUIDES
from ovseg.utils import check_choice, check_dict, check_keys, expanded, one_line, quoted, shown

HUB_FILE = 'model.safetensors'
CONTAINERS = ('state_dict', 'model', 'teacher')  # of the weights, in files of timm, MAE and DINO
PREFIXES = ('teacher.', 'module.', 'backbone.')  # of all weights, in the order in which they follow each other
HEADS = ('head.', 'fc_norm.', 'decoder_', 'decoder.')  # weights that are of no use for patch features


@GUIDES.register_module()
@dataclass(frozen=True)
class TimmGuide(Guide):
    """Features of timm's DINO, DINOv2, DINOv3, MAE and other ViTs, or of SAM's image encoder.

    Args:
        model: timm's name with its tag, e.g. ``'vit_base_patch8_224.dino'``, ``'vit_base_patch14_reg4_dinov2.lvd142m'``,
            ``'vit_base_patch16_dinov3.lvd1689m'``, ``'vit_base_patch16_224.mae'``, ``'samvit_base_patch16.sa1b'``.
        pretrained: True: the weights of the tag, from the Hugging Face hub or its cache; a file of timm or of the original
            repository; None for random weights.
        features: ``'tokens'``: final tokens behind the last norm (SAM: behind its neck); or the last block's ``'q'``, ``'k'``,
            ``'v'``, with heads joined, or ``'qk'``, the sum of queries and keys.
        model_cfg: Keywords of timm's model, e.g. ``dict(depth=6)``.
        precision: ``'fp32'``, ``'fp16'`` or ``'bf16'``: what it computes in.

    Raises:
        ValueError: an unknown model, tag, key or name.
    """
    model: str
    pretrained: Union[bool, str, None] = True
    features: str = 'tokens'
    model_cfg: Mapping[str, Any] = field(default_factory=dict, hash=False)
    precision: str = 'fp32'
    patch_size: Tuple[int, int] = field(init=False, compare=False, repr=False)
    width: int = field(init=False, compare=False, repr=False)
    heads: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        check_features('TimmGuide', self.features)
        check_choice('TimmGuide precision', self.precision, list(PRECISIONS))
        if self.pretrained is False or self.pretrained == '' or not isinstance(self.pretrained, (bool, str, type(None))):
            raise ValueError(f'TimmGuide pretrained={shown(self.pretrained)} must be True, a path, or None')
        cfg: Dict[str, Any] = check_dict('TimmGuide model_cfg', self.model_cfg)
        with torch.device('meta'):
            model = build_vit(self.model, cfg)
        block = model.blocks[-1]
        if not isinstance(block, BLOCKS):
            raise ValueError(f'TimmGuide model={shown(self.model)} has blocks of the type {type(block).__name__}, and a guide '
                             'needs plain ones, whose norm stands in front of their attention')
        sizes = dict(patch_size=tuple(model.patch_embed.patch_size), width=model.embed_dim, heads=block.attn.num_heads)
        self.__dict__.update(model_cfg=cfg, **sizes)  # the dataclass is frozen for everyone else

    def weights_digest(self) -> str:
        """See ``Guide``; the tag of weights from the hub, and for random weights a text that no other process has."""
        if self.pretrained is None:
            return RANDOM
        return self.model if self.pretrained is True else file_digest(expanded('TimmGuide pretrained', str(self.pretrained)))

    def load(self) -> TimmNetwork:
        """See ``Guide``."""
        if self.pretrained is None:
            print_log(f'TimmGuide pretrained=None: {self.model} runs with random weights, so its features mean nothing',
                      'current', 30)
            model = build_vit(self.model, self.model_cfg)
        else:
            with torch.device('meta'):  # the random weights of a model take seconds, so missing ones are found before
                path = (_download(build_vit(self.model, self.model_cfg)) if self.pretrained is True else
                        _local_file(str(self.pretrained)))
            model = build_vit(self.model, self.model_cfg)
            load_weights(model, path, self.model)
        return TimmNetwork(model, self.features, PRECISIONS[self.precision])

    def __call__(self, network: TimmNetwork, batch: WindowBatch) -> GuideFeatures:
        """See ``Guide``."""
        return GuideFeatures(*network(batch.rgb))

    def bytes_per_window(self, size: Tuple[int, int]) -> int:
        """See ``Guide``."""
        patches = (size[0] // self.patch_size[0]) * (size[1] // self.patch_size[1])
        # input, norm, q, k, v, and the MLP's hidden layer before and behind its activation; attention in full, as SAM's is
        floats = patches * 14 * self.width + self.heads * patches ** 2
        return floats * PRECISIONS[self.precision].itemsize


def build_vit(name: str, model_cfg: Mapping[str, Any]) -> Any:
    """A timm model of ``FAMILIES`` with random weights, for images of any size.

    Args:
        name: timm's name.
        model_cfg: Keywords of its class.

    Raises:
        ValueError: an unknown model, tag or keyword, or a model of another kind.
    """
    if not isinstance(name, str) or not timm.is_model(name):
        near = difflib.get_close_matches(str(name), timm.list_models(), 3)
        raise ValueError(f'TimmGuide model={shown(name)} is not a timm model; '
                         + (f'did you mean {", ".join(map(repr, near))}?' if near else 'e.g. vit_base_patch8_224.dino'))
    family = next((key for key in FAMILIES if timm.models.is_model_in_modules(name, [key])), None)
    if family is None:
        raise ValueError(f"TimmGuide model={shown(name)} must be a ViT of timm's {', '.join(FAMILIES)}")
    fixed: Dict[str, Any] = dict(num_classes=0)
    if family != 'vision_transformer_sam':  # which takes any size anyway
        fixed['dynamic_img_size'] = True
    check_keys('TimmGuide model_cfg', model_cfg, {*inspect.signature(FAMILIES[family]).parameters} - {*fixed})
    with named_errors(f'TimmGuide model={name}, model_cfg={shown(dict(model_cfg))}'):
        return timm.create_model(name, **fixed, **model_cfg).eval()


def load_weights(model: nn.Module, path: Path, name: str) -> None:
    """Fill every parameter of a timm model from a file of timm or of the original repository.

    Raises:
        ValueError: the file does not hold the model's weights; names it.
    """
    try:
        state = strip_prefixes(read_state_dict(path, CONTAINERS))
        state = import_module(type(model).__module__).checkpoint_filter_fn(state, model)
        own = model.state_dict()
        state = {key: value for key, value in state.items() if key in own or not key.startswith(HEADS)}
        for key, value in own.items():
            if key in state and value.is_floating_point() and not state[key].is_floating_point():
                raise ValueError(f'{key!r} is of the type {state[key].dtype}, but the model has floating-point numbers there')
        model.load_state_dict(state)
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:  # timm's filter looks without checks
        raise ValueError(f'{quoted(path)} does not hold the weights of {name}: {one_line(error)}') from error


def strip_prefixes(state: Mapping[str, Tensor]) -> Dict[str, Tensor]:
    """Weights without what stands in front of all names of the backbone: DINO's ``teacher.backbone.``, ``module.backbone.``."""
    for prefix in PREFIXES:
        if any(key.startswith(prefix) for key in state):
            state = {key[len(prefix):]: value for key, value in state.items() if key.startswith(prefix)}
    return dict(state)


def _download(model: Any) -> Path:
    cfg = model.pretrained_cfg
    name, repository = f'{cfg["architecture"]}.{cfg.get("tag")}', cfg.get('hf_hub_id')
    if not repository:
        raise ValueError(f'TimmGuide pretrained=True: timm has no weights of {name}; give a path')
    try:
        with cache_if_unreachable():
            return Path(hf_hub_download(repository, HUB_FILE))
    except (OSError, RuntimeError, ValueError) as error:
        call = f"python -c \"import timm; timm.create_model('{name}', pretrained=True)\""
        megabytes = sum(parameter.numel() for parameter in model.parameters()) * 4 / 1e6
        raise FileNotFoundError(
            f'the weights of {name} ({megabytes:.0f} MB) are not on this machine and could not be downloaded.\n'
            f'  needed: {HUB_FILE} of {repository} on the Hugging Face hub\n'
            f'  looked in: {quoted(HF_HUB_CACHE)}\n'
            f'  to fetch them beforehand, run with network: {call}\n'
            f'  then copy the folder {quoted(Path(HF_HUB_CACHE).name)} of that machine to the place above, or copy the file '
            'and set pretrained=/path/to/file of this TimmGuide\n'
            f'  the download said: {one_line(error)}') from error


def _local_file(given: str) -> Path:
    path = expanded('TimmGuide pretrained', given)
    if not path.is_file():
        raise FileNotFoundError(f'TimmGuide pretrained={shown(given)}: there is no file {quoted(path.absolute())}')
    return path
