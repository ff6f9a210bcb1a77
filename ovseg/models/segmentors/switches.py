"""The flat form of a model's settings, and its translation into components.

SCLIP, NACLIP and others name their settings ``model_type``, ``slide_crop`` and so on, all on one level. ``CLIPSegmentor`` takes
these names, and ovseg's tools take them as options of any config; the components are what a model is built from.
"""
from inspect import signature
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

from mmengine.logging import print_log

from ovseg.models.dense.last_block_encoder import SIMILARITY_KEYS
from ovseg.models.post_processors.post_processor import STAGES, PostProcessor
from ovseg.registry import POST_PROCESSORS
from ovseg.utils import check_arguments, check_dict, check_flag, check_keys, check_number, registered, shown, type_name

COMPONENTS = ('clip', 'vocabulary', 'image_encoder', 'post_processors', 'upsampler', 'windows', 'decoder')
DEFAULTS: Dict[str, Any] = dict(image_encoder={}, post_processors=[], upsampler=None, windows={}, decoder={})
EXAMPLES = dict(clip="clip=dict(name='ViT-B-16-quickgelu', pretrained='openai')", vocabulary="vocabulary=dict(names='ade20k')")
NOT_GIVEN: Any = object()

PLACES = dict(
    clip_model='clip.name', pretrained='clip.pretrained', name_path='vocabulary.names', prompt_templates='vocabulary.templates',
    model_type='image_encoder.attention.type', ignore_residual='image_encoder.ignore_residual', slide_crop='windows.crop',
    slide_stride='windows.stride', pad_mode='windows.pad_mode', logit_scale='decoder.logit_scale', prob_thd='decoder.prob_thd',
    bg_idx='decoder.bg_idx')
KEYWORDS = dict(attention_cfg='image_encoder.attention', similarity_enhancement_cfg='image_encoder.similarity')
SIMILARITY = 'apply_similarity_enhancement'
NESTED_ONLY = {  # settings that have no flat form
    'cls_source': 'image_encoder.cls_source', 'attention_layer': 'image_encoder.attention_layer',
    'precision': 'image_encoder.precision', 'compile': 'image_encoder.compile', 'cls_token_lambda': 'decoder.cls_token_lambda',
    'area_thd': 'decoder.area_thd', 'refine': 'decoder.refiner', 'decode_memory_mb': 'decoder.memory_mb',
    'with_seg_logits': 'decoder.with_seg_logits', 'with_confidence': 'decoder.with_confidence', 'reject': 'decoder.reject',
    'window_batch_size': 'windows.batch_size'}


class Module(NamedTuple):
    """A module of the chain: the switch that turns it on, and the one that holds its keywords, where there is one."""
    type: str
    switch: str
    keywords: Optional[str]


CHAIN = (Module('SelfAttnEnhancement', 'apply_self_attn_enhancement', 'self_attn_enhancement_cfg'),  # in the chain's order
         Module('OutlierSuppression', 'apply_outlier_suppression', 'outlier_suppression_cfg'),
         Module('GlobalDebias', 'global_debias_factor', None),
         Module('CTD', 'apply_ctd', 'ctd_cfg'))
OF_CHAIN = [name for module in CHAIN for name in (module.switch, module.keywords) if name]
FLAT = {**PLACES, **KEYWORDS, SIMILARITY: 'image_encoder.similarity', **dict.fromkeys(OF_CHAIN, 'post_processors')}
SETTINGS = {**FLAT, **NESTED_ONLY}


def ignore_mmseg(switches: Dict[str, Any], clip: Any, train_cfg: Any) -> None:
    """Take out of ``switches`` what mmseg's tools set in every model's config: ``pretrained=None``.

    Raises:
        ValueError: the config is flat, so that its own ``pretrained`` was overwritten.
    """
    if 'pretrained' not in switches or switches['pretrained'] is not None:
        return
    if clip is not None:
        del switches['pretrained']
    elif train_cfg is not NOT_GIVEN:
        raise ValueError('pretrained=None and train_cfg were set by a tool of mmseg, in place of the weights that the config '
                         f'names: write them in the nested form, {EXAMPLES["clip"]}')


def nested_model(model: Mapping[str, Any], switches: Mapping[str, Any], replace: bool = False) -> Dict[str, Any]:
    """Components with flat switches translated into them.

    Args:
        model: Components by key, which is not changed.
        switches: Flat settings, names in ``FLAT``.
        replace: Let switches replace what ``model`` says, as options of a command do; otherwise both forms of one setting
            are an error.

    Raises:
        ValueError: an unknown switch, a value that it cannot have, or both forms of one setting.
    """
    _check_names(switches)
    changed = {FLAT[name].split('.')[0] for name in switches}
    model = {key: _copy(value, key) if key in changed else value for key, value in model.items()}
    for name, place in PLACES.items():
        if name in switches:
            _set(model, name, place, switches[name], replace)
    if 'attention_cfg' in switches:
        _set_attention_keywords(model, switches, replace)
    if {SIMILARITY, 'similarity_enhancement_cfg'} & set(switches):
        _set_similarity(model, switches, replace)
    if set(OF_CHAIN) & set(switches):
        _set_chain(model, switches, replace)
    return model


def switch_value(model: Mapping[str, Any], name: str) -> Any:
    """The value of a flat switch in a model's components; None where the model does not say.

    Args:
        model: Components by key, in the nested form.
        name: A name in ``FLAT``, but none that holds keywords.
    """
    if name in PLACES:
        value: Any = model
        for part in PLACES[name].split('.'):
            value = value if value is None or isinstance(value, Mapping) else dict(type=value)
            value = None if value is None else value.get(part)
        return value
    if name == SIMILARITY:
        encoder = model.get('image_encoder')
        return isinstance(encoder, Mapping) and encoder.get('similarity') is not None
    module = next(module for module in CHAIN if module.switch == name)
    found: Any = next((item for item in model.get('post_processors', []) if _type_of(item) == module.type), None)
    if module.keywords:
        return found is not None
    return 0.0 if found is None else module_keyword(model, module.type, 'factor')


def module_keyword(model: Mapping[str, Any], type_: str, keyword: str) -> Any:
    """A keyword of the first module of a type in a model's chain, or its default."""
    found: Any = next((item for item in model.get('post_processors', []) if _type_of(item) == type_), {})
    if isinstance(found, Mapping) and keyword in found:
        return found[keyword]
    return signature(POST_PROCESSORS.get(type_)).parameters[keyword].default


def _check_names(switches: Mapping[str, Any]) -> None:
    for name in switches:
        if name in NESTED_ONLY:
            component, key = NESTED_ONLY[name].split('.')
            raise ValueError(f'CLIPSegmentor has no key {name!r}: it is {NESTED_ONLY[name]}, written '
                             f'{component}=dict({key}=...), or model.{NESTED_ONLY[name]}=... as an option')
    check_keys('CLIPSegmentor', switches, {*FLAT, *COMPONENTS, 'data_preprocessor'})


def _copy(value: Any, key: str) -> Any:
    """A component's config as dicts and lists of its own, so that settings can be put into it.

    Raises:
        ValueError: it is an object, which has its settings already.
    """
    if isinstance(value, str) and key in ('image_encoder', 'upsampler'):
        return dict(type=value)
    if isinstance(value, Mapping) and key != 'post_processors':
        return {name: dict(item) if isinstance(item, Mapping) else item for name, item in value.items()}
    if isinstance(value, (list, tuple)) and key == 'post_processors':
        return [dict(item) if isinstance(item, Mapping) else item for item in value]
    raise ValueError(f'{key}={shown(value)} must be a config for flat settings to be put into it')


def _set(model: Dict[str, Any], name: str, place: str, value: Any, replace: bool) -> None:
    *parents, key = place.split('.')
    node = model
    for parent in parents:
        node = _part(node, parent, place)
    if key in node and not replace:
        raise _both(name, value, place, node[key])
    if key == 'type' and replace:
        node.clear()  # the keywords there are another type's
    node[key] = value


def _part(node: Dict[str, Any], key: str, place: str) -> Dict[str, Any]:
    """The dict under a key, which is made, or made of a type alone, if need be.

    Raises:
        ValueError: something else is there; names the place.
    """
    if isinstance(node.get(key), str):
        node[key] = dict(type=node[key])
    part = node.setdefault(key, {})
    if not isinstance(part, dict):
        raise ValueError(f'{key}={shown(part)} must be a dict, or a type alone, for {place} to be set in it')
    return part


def _set_attention_keywords(model: Dict[str, Any], switches: Mapping[str, Any], replace: bool) -> None:
    keywords = check_dict('attention_cfg', switches['attention_cfg'])
    if 'type' in keywords:
        raise ValueError(f'attention_cfg={shown(keywords)} holds keywords of the attention; its type is model_type')
    encoder = model.setdefault('image_encoder', {})
    encoder.setdefault('attention', dict(type='Gated'))
    attention = _part(encoder, 'attention', 'image_encoder.attention')
    if not replace and 'model_type' not in switches and attention != dict(type='Gated'):
        raise _both('attention_cfg', keywords, 'image_encoder.attention', attention)
    attention.update(keywords)


def _set_similarity(model: Dict[str, Any], switches: Mapping[str, Any], replace: bool) -> None:
    keywords = check_dict('similarity_enhancement_cfg', switches.get('similarity_enhancement_cfg'))
    check_keys('similarity_enhancement_cfg', keywords, SIMILARITY_KEYS)
    encoder = model.setdefault('image_encoder', {})
    if 'similarity' in encoder and not replace:
        name = next(name for name in (SIMILARITY, 'similarity_enhancement_cfg') if name in switches)
        raise _both(name, switches[name], 'image_encoder.similarity', encoder['similarity'])
    on = check_flag(SIMILARITY, switches.get(SIMILARITY, encoder.get('similarity') is not None))
    if on:
        before = check_dict('image_encoder.similarity', encoder.get('similarity'))
        encoder['similarity'] = {**before, **keywords}
        return
    encoder.pop('similarity', None)
    _log_no_effect('similarity_enhancement_cfg', keywords, SIMILARITY)


def _set_chain(model: Dict[str, Any], switches: Mapping[str, Any], replace: bool) -> None:
    modules: List[Any] = list(model.get('post_processors', []))
    if 'post_processors' in model and not replace:
        there = {_type_of(item) for item in modules}
        given = [name for module in CHAIN for name in (module.switch, module.keywords)
                 if name and (switches.get(name) or (name in switches and name == module.switch and module.type in there))]
        if given:
            raise ValueError(f'post_processors replaces the whole chain and cannot be given together with {", ".join(given)}: '
                             'put the module into post_processors, or leave the switch out')
    for module in CHAIN:
        keywords = check_dict(module.keywords, switches.get(module.keywords)) if module.keywords else {}
        check_arguments(str(module.keywords), POST_PROCESSORS.get(module.type), keywords)
        on = any(_type_of(item) == module.type for item in modules)
        if module.switch in switches:
            wanted = switches[module.switch]
            if module.keywords:
                check_flag(module.switch, wanted)
            elif check_number(module.switch, wanted, 0):
                keywords = dict(factor=wanted)
            if wanted and not on:
                modules.insert(_place(module.type, modules), dict(type=module.type))
            elif not wanted:
                modules = [item for item in modules if _type_of(item) != module.type]
            on = bool(wanted)
        if on:
            modules = _with_keywords(modules, module.type, keywords)
        else:
            _log_no_effect(module.keywords, keywords, module.switch)
    model['post_processors'] = modules


def _with_keywords(modules: Sequence[Any], type_: str, keywords: Mapping[str, Any]) -> List[Any]:
    """The modules with keywords of those of one type changed."""
    return [{'type': type_, **(item if isinstance(item, Mapping) else {}), **keywords}
            if keywords and _type_of(item) == type_ else item for item in modules]


def _place(type_: str, modules: Sequence[Any]) -> int:
    """Index at which a module of the chain is inserted: in front of the first that comes later in the fixed order."""
    order = [module.type for module in CHAIN]
    stage = STAGES.index(POST_PROCESSORS.get(type_).stage)
    for index, item in enumerate(modules):
        other = _type_of(item)
        later_stage = STAGES.index(getattr(registered(POST_PROCESSORS, other), 'stage', STAGES[0])) > stage
        if later_stage or (other in order and order.index(other) > order.index(type_)):
            return index
    return len(modules)


def _type_of(item: Any) -> str:
    """The type's name of a module of the chain: a config, a type alone, or the module itself."""
    if isinstance(item, PostProcessor):
        return type(item).__name__
    return type_name(item.get('type', '') if isinstance(item, Mapping) else item)


def _log_no_effect(name: Optional[str], keywords: Mapping[str, Any], switch: str) -> None:
    if keywords:
        print_log(f'{name}={keywords} has no effect: {switch} is off', 'current')


def _both(name: str, value: Any, place: str, other: Any) -> ValueError:
    return ValueError(f'{name}={shown(value)} and {place}={shown(other)} are two forms of one setting: keep {place}')
