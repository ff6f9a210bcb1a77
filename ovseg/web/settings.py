"""The settings of a model that the page can change, and the models that have them."""
import copy
import logging
from functools import lru_cache
from pathlib import Path
from typing import Any, Dict, Mapping, NamedTuple, Optional, Union

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger

from ovseg.apis import OVSegInferencer
from ovseg.apis.ovseg_inferencer import UNRESIZED, WITHOUT_A_MODEL
from ovseg.models import CLIPSegmentor
from ovseg.models.dense import LastBlockEncoder
from ovseg.models.segmentors.components import Components
from ovseg.models.segmentors.switches import DEFAULTS, module_keyword, switch_value
from ovseg.models.towers import tiny_clip
from ovseg.registry import ATTENTIONS
from ovseg.resources import configs_dir
from ovseg.utils import type_name

KEPT = 8  # settings whose text embeddings stay in memory
SWITCHES = dict(similarity='apply_similarity_enhancement', self_attn_enhancement='apply_self_attn_enhancement',
                outlier_suppression='apply_outlier_suppression', debias='global_debias_factor', ctd='apply_ctd')
AS_CONFIGURED = 'as configured'
OF_METHOD = list(DEFAULTS)  # the components that a method consists of
OF_DEMO = '_tiny-clip_demo.py'  # how configs of the demo end
LAST_BLOCK = LastBlockEncoder.__name__


class Setting(NamedTuple):
    """Options of a model that the page can change: the switches of ``SWITCHES``, and two more.

    Args:
        method: A name in ``ATTENTIONS``, to which the switches are added; ``AS_CONFIGURED``; or one of ``offered_methods``.
        top_k: Outliers per window; counts only with ``outlier_suppression``.
    """
    method: str
    similarity: bool
    self_attn_enhancement: bool
    outlier_suppression: bool
    top_k: int
    debias: float
    ctd: bool

    @classmethod
    def of(cls, model: Mapping[str, Any]) -> 'Setting':
        """The setting of the config of a ``CLIPSegmentor``."""
        return cls(method=_attention(model) or AS_CONFIGURED, top_k=module_keyword(model, 'OutlierSuppression', 'top_k'),
                   **{field: switch_value(model, switch) for field, switch in SWITCHES.items()})

    def options(self, model: Mapping[str, Any], methods: Mapping[str, Mapping[str, Any]]) -> Dict[str, Any]:
        """``cfg_options`` that give the config of a ``CLIPSegmentor`` this setting.

        Args:
            model: The config.
            methods: The components of methods by name.
        """
        if self.method == AS_CONFIGURED:
            return {}
        if self.method in methods:
            return _replaced(model, methods[self.method])
        encoder = {'model.image_encoder': dict(_delete_=True)} if _attention(model) is None else {}
        options: Dict[str, Any] = {switch: getattr(self, field) for field, switch in SWITCHES.items()}
        if self.outlier_suppression:
            options['outlier_suppression_cfg'] = dict(top_k=self.top_k)
        if self.method != _attention(model):  # else it keeps its keywords
            options['model_type'] = self.method
        return {**encoder, **{f'model.{key}': value for key, value in options.items()}}


class Models:
    """Inferencers by setting, all of the same CLIP; the last few stay in memory. Arguments as of ``OVSegInferencer``.

    Attributes:
        cfg: The config, before any setting.
        methods: See ``offered_methods``.
        max_pixels: Pixels of an image that the inferencers take.
    """

    def __init__(self, model: Union[str, Path, None] = None, weights: Optional[str] = None,
                 device: Union[str, torch.device, None] = None, max_pixels: int = 20_000_000) -> None:
        configured = OVSegInferencer(WITHOUT_A_MODEL if model is None else model, weights, device, max_pixels=max_pixels)
        self.cfg, self.methods = configured.cfg, offered_methods(configured)
        self.max_pixels = max_pixels if _resizes(self.cfg) else max_pixels // UNRESIZED
        self._variant = lru_cache(maxsize=KEPT)(
            lambda setting: configured.variant(setting.options(self.cfg.model, self.methods)))

    def get(self, setting: Setting) -> OVSegInferencer:
        """The inferencer of a setting. Settings that differ only in switches without effect share one."""
        if setting.method == AS_CONFIGURED or setting.method in self.methods:
            setting = Setting.of({})._replace(method=setting.method)
        elif not setting.outlier_suppression:
            setting = setting._replace(top_k=0)
        return self._variant(setting)


def _resizes(cfg: Config) -> bool:
    """True if the test pipeline of a config has a Resize of any kind."""
    return any('Resize' in type_name(transform['type']) for transform in cfg.test_dataloader.dataset.pipeline)


def offered_methods(inferencer: OVSegInferencer) -> Dict[str, Dict[str, Any]]:
    """The components of each method of ovseg that fits the CLIP of an inferencer, by name, as far as can be known without
    reading weights of other networks: with the tiny CLIP the methods of the demo, else those of ``_base_/methods``.
    """
    clip, root = inferencer.cfg.model.clip, configs_dir()
    if clip.name == tiny_clip.MODEL_NAME:
        found = {path.name[:-len(OF_DEMO)]: Config.fromfile(path).model for path in (root / 'demo').glob(f'*{OF_DEMO}')}
    else:
        found = {path.stem: Config.fromfile(path).method for path in (root / '_base_' / 'methods').glob('*.py')}
    methods = {f'{name} (method)': {key: value for key, value in found[name].to_dict().items() if key in OF_METHOD}
               for name in sorted(found)}
    return {name: method for name, method in methods.items() if _fits(method, inferencer.model)}


def _fits(method: Mapping[str, Any], segmentor: CLIPSegmentor) -> bool:
    """True if a segmentor of the same CLIP can have the components of a method; a network's weights may still be missing."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)  # modules log that they are on, and here none is
    try:
        Components.build({**DEFAULTS, **method, 'vocabulary': segmentor.vocabulary}).check(segmentor.tower)
    except (FileNotFoundError, ImportError, ValueError):  # of region maps or a package, and of settings that do not fit
        return False
    finally:
        logger.setLevel(level)
    return True


def _replaced(model: Mapping[str, Any], method: Mapping[str, Any]) -> Dict[str, Any]:
    """``cfg_options`` that give a model the components of a method in place of its own."""
    wanted = {key: copy.deepcopy(method.get(key, DEFAULTS[key])) for key in OF_METHOD}
    return {f'model.{key}': dict(value, _delete_=True) if isinstance(value, dict) and isinstance(model.get(key), dict)
            else value for key, value in wanted.items()}


def _attention(model: Mapping[str, Any]) -> Optional[str]:
    """The attention of the config of a ``CLIPSegmentor``, written as in ``ATTENTIONS``, where it is known; None for a method
    without one.
    """
    encoder = model.get('image_encoder', {})
    if type_name(encoder.get('type', LAST_BLOCK) if isinstance(encoder, Mapping) else encoder) != LAST_BLOCK:
        return None
    given = switch_value(model, 'model_type') or 'Gated'
    return next((name for name in ATTENTIONS.module_dict if name.casefold() == given.casefold()), given)
