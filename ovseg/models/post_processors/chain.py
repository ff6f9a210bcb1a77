"""The post-processors of a model, in order."""
import inspect
from typing import Any, Dict, List, Mapping, Optional, Sequence

from mmengine.logging import print_log

from ovseg.models.dense_features import DenseFeatures
from ovseg.models.post_processors.post_processor import STAGES, PostProcessor
from ovseg.precision import full_precision
from ovseg.registry import POST_PROCESSORS
from ovseg.utils import build_checked, check_choice, check_dict, check_flag, check_keys, check_number, shown

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
        self.modules: List[PostProcessor] = [module if isinstance(module, PostProcessor) else
                                             build_checked(POST_PROCESSORS, module) for module in modules]
        last: Optional[PostProcessor] = None
        for module in self.modules:
            name = type(module).__name__
            check_choice(f'{name}.stage', getattr(module, 'stage', None), STAGES)
            if last is not None and last.stage == 'embeddings' and module.stage == 'tokens':
                raise ValueError(f'post_processors: {name} works on tokens and cannot follow {type(last).__name__}, which '
                                 'works on embeddings: there is no way back through the projection')
            last = module

    @property
    def needs_attention(self) -> bool:
        """Whether any module needs the encoder's attention."""
        return any(module.needs_attention for module in self.modules)

    def __call__(self, features: DenseFeatures, stage: str) -> DenseFeatures:
        """Apply the modules of ``stage`` (``'tokens'`` or ``'embeddings'``) in order.

        Raises:
            ValueError: a module returns no ``DenseFeatures``, or changes the grid or the shape of a tensor.
        """
        with full_precision(features.patches):
            for module in self.modules:
                if module.stage == stage:
                    result = module(features)
                    _check_layout(module, features, result)
                    features = result
        return features


def _check_layout(module: PostProcessor, given: DenseFeatures, returned: DenseFeatures) -> None:
    """Refuse other shapes than those given: the decoder would assign scores to the wrong pixels."""
    name = type(module).__name__
    if not isinstance(returned, DenseFeatures):
        raise ValueError(f'post-processor {name} must return DenseFeatures, not {type(returned).__name__}')
    before, after = _layout(given), _layout(returned)
    for field, value in before.items():
        if after[field] != value:
            raise ValueError(f'post-processor {name} must keep the shape of its input: it was given {field} {value} and '
                             f'returned {after[field]}')


def _layout(features: DenseFeatures) -> Dict[str, Any]:
    """The grid and the shape of each tensor, None for one that is absent."""
    tensors = dict(patches=features.patches, cls_token=features.cls_token, attn=features.attn)
    return dict(grid_size=features.grid_size,
                **{name: None if tensor is None else tuple(tensor.shape) for name, tensor in tensors.items()})


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
    on = dict(apply_self_attn_enhancement=check_flag('apply_self_attn_enhancement', apply_self_attn_enhancement),
              apply_outlier_suppression=check_flag('apply_outlier_suppression', apply_outlier_suppression),
              global_debias_factor=bool(global_debias_factor), apply_ctd=check_flag('apply_ctd', apply_ctd))
    modules = dict(
        apply_self_attn_enhancement=_module('SelfAttnEnhancement', 'self_attn_enhancement', self_attn_enhancement_cfg, on),
        apply_outlier_suppression=_module('OutlierSuppression', 'outlier_suppression', outlier_suppression_cfg, on),
        global_debias_factor=dict(type='GlobalDebias', factor=global_debias_factor),
        apply_ctd=_module('CTD', 'ctd', ctd_cfg, on))
    if post_processors is None:
        return [module for switch, module in modules.items() if on[switch]]
    if any(on.values()):
        switches = ', '.join(switch for switch, value in on.items() if value)
        raise ValueError(f'post_processors replaces the whole chain and cannot be given together with {switches}: put '
                         'the module into post_processors, or switch it off')
    if not isinstance(post_processors, (list, tuple)):
        raise ValueError(f"post_processors={shown(post_processors)} must be a list, e.g. [dict(type='GlobalDebias', "
                         'factor=0.2)], or [GlobalDebias,CTD] on the command line')
    return list(post_processors)


def _module(type_: str, name: str, cfg: Config, on: Mapping[str, bool]) -> Dict[str, Any]:
    """The config of the module that ``apply_name`` switches on, and whose keywords ``name_cfg`` holds."""
    keywords = check_dict(f'{name}_cfg', cfg)
    check_keys(f'{name}_cfg', keywords, inspect.signature(POST_PROCESSORS.get(type_)).parameters)
    if keywords and not on[f'apply_{name}']:
        print_log(f'{name}_cfg={keywords} has no effect: apply_{name} is off', 'current')
    return dict(type=type_, **keywords)
