"""The post-processors of a model, in order."""
import inspect
from typing import Any, Dict, List, Mapping, Optional, Sequence

from ovseg.models.dense_features import DenseFeatures
from ovseg.models.post_processors.post_processor import STAGES, PostProcessor
from ovseg.registry import POST_PROCESSORS
from ovseg.utils import build_checked, check_choice, check_flag, check_keys, check_number, full_precision

Config = Optional[Mapping[str, Any]]


class PostProcessorChain:
    """Holds post-processors and applies those of one stage.

    Args:
        modules: Config dicts, bare type names or ``PostProcessor`` objects, in order: those for tokens first, then those for
            embeddings.

    Raises:
        ValueError: the order goes back from embeddings to tokens, or a type, key or number is not allowed.
    """

    def __init__(self, modules: Sequence[Any] = ()) -> None:
        self.modules: List[PostProcessor] = [_build(module) for module in modules]
        last: Optional[PostProcessor] = None
        for module in self.modules:
            name = type(module).__name__
            check_choice(f'stage of {name}', module.stage, STAGES)
            if last is not None and last.stage == 'embeddings' and module.stage == 'tokens':
                raise ValueError(f'post_processors: {name} works on tokens and cannot follow {type(last).__name__}, which '
                                 'works on embeddings: there is no way back through the projection')
            last = module

    @property
    def needs_attention(self) -> bool:
        """Whether any module needs the encoder's attention."""
        return any(module.needs_attention for module in self.modules)

    def __call__(self, features: DenseFeatures, stage: str) -> DenseFeatures:
        """Apply the modules of ``stage`` (``'tokens'`` or ``'embeddings'``) in order."""
        with full_precision(features.patches):
            for module in self.modules:
                if module.stage == stage:
                    features = module(features)
        return features


def _build(module: Any) -> PostProcessor:
    if isinstance(module, str):
        module = dict(type=module)
    if isinstance(module, Mapping):
        return build_checked(POST_PROCESSORS, module)
    if not isinstance(module, PostProcessor):
        raise ValueError(f'post_processors is a list of dicts with a type, of type names, or of PostProcessor objects, not of '
                         f'{module!r}')
    return module


def modules_from_switches(apply_self_attn_enhancement: bool = False, self_attn_enhancement_cfg: Config = None,
                          apply_outlier_suppression: bool = False, outlier_suppression_cfg: Config = None,
                          global_debias_factor: float = 0.0, apply_ctd: bool = False, ctd_cfg: Config = None,
                          post_processors: Optional[Sequence[Any]] = None) -> List[Any]:
    """The chain that a config's switches ask for, in its fixed order.

    Args:
        apply_self_attn_enhancement: Switch of ``SelfAttnEnhancement``.
        self_attn_enhancement_cfg: Its keywords.
        apply_outlier_suppression: Switch of ``OutlierSuppression``.
        outlier_suppression_cfg: Its keywords.
        global_debias_factor: Factor of ``GlobalDebias``; 0 leaves it out.
        apply_ctd: Switch of ``CTD``.
        ctd_cfg: Its keywords.
        post_processors: A whole chain instead, as ``PostProcessorChain`` takes it.

    Raises:
        ValueError: an unknown keyword of a module, switched on or not, or ``post_processors`` together with a switch.
    """
    check_number('global_debias_factor', global_debias_factor, 0)
    for switch, value in dict(apply_self_attn_enhancement=apply_self_attn_enhancement,
                              apply_outlier_suppression=apply_outlier_suppression, apply_ctd=apply_ctd).items():
        check_flag(switch, value)
    configs = dict(SelfAttnEnhancement=self_attn_enhancement_cfg, OutlierSuppression=outlier_suppression_cfg, CTD=ctd_cfg)
    for name, cfg in configs.items():
        check_keys(name, cfg or {}, inspect.signature(POST_PROCESSORS.get(name)).parameters)
    switched: Dict[str, Dict[str, Any]] = dict(
        apply_self_attn_enhancement=dict(type='SelfAttnEnhancement', **(self_attn_enhancement_cfg or {})),
        apply_outlier_suppression=dict(type='OutlierSuppression', **(outlier_suppression_cfg or {})),
        global_debias_factor=dict(type='GlobalDebias', factor=global_debias_factor),
        apply_ctd=dict(type='CTD', **(ctd_cfg or {})))
    on = [switch for switch, value in dict(
        apply_self_attn_enhancement=apply_self_attn_enhancement, apply_outlier_suppression=apply_outlier_suppression,
        global_debias_factor=global_debias_factor, apply_ctd=apply_ctd).items() if value]
    if post_processors is None:
        return [switched[switch] for switch in on]
    if on:
        raise ValueError(f'post_processors replaces the whole chain and cannot be given together with {", ".join(on)}: put '
                         'the module into post_processors, or switch it off')
    if not isinstance(post_processors, (list, tuple)):
        raise ValueError(f"post_processors={post_processors!r} must be a list, e.g. [dict(type='GlobalDebias', factor=0.2)], "
                         'or [GlobalDebias,CTD] on the command line')
    return list(post_processors)
