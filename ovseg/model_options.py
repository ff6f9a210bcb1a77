"""Options of a model: by the place of a component, or by a flat switch."""
import ast
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Sequence, Union

from mmengine.config import Config
from mmengine.config.lazy import LazyAttr, LazyObject
from mmseg.registry import MODELS

from ovseg.models.segmentors import CLIPSegmentor
from ovseg.models.segmentors.switches import COMPONENTS, FLAT, PLACES, nested_model


def nest_model(cfg: Config) -> None:
    """Bring the model of a config into its nested form, if it is a ``CLIPSegmentor``.

    A file may have a setting in one form where the files that it builds on have it in the other: its own is taken.

    Raises:
        ValueError: as ``nested_model``.
    """
    model = cfg.get('model')
    if not _is_ours(model):
        return
    switches = {key: model[key] for key in model if key in FLAT}
    if 'clip' in model and switches.get('pretrained', '') is None:
        del switches['pretrained']  # set by mmseg's tools
    if not switches:
        return
    nested = {key: value for key, value in model.items() if key not in FLAT}
    later = {name: later_form(cfg.filename, name) for name in switches if cfg.filename and _has(nested, FLAT[name])}
    over = {name: switches.pop(name) for name, form in later.items() if form == 'flat'}
    for name in [name for name, form in later.items() if form == 'nested']:
        del switches[name]
    cfg.model = _with_switches(_with_switches(nested, switches, replace=False), over, replace=True)


def later_form(path: Union[str, Path], name: str) -> str:
    """The form in which a config, or the nearest of those that it builds on, has the setting of a flat switch.

    Args:
        path: A config file. Only what a Python file writes out as ``model = dict(...)`` is found.
        name: The switch.

    Returns:
        ``'flat'``, ``'nested'``, ``'both'``, or ``''`` where none of them has it.
    """
    if Path(path).suffix != '.py':
        return 'both'  # which of the files it builds on has which form is not known
    tree = ast.parse(Path(path).read_text(encoding='utf-8'))
    values = {target.id: node.value for node in tree.body if isinstance(node, ast.Assign)
              for target in node.targets if isinstance(target, ast.Name)}
    places = dict(flat=[name], nested=FLAT[name].split('.'))
    forms = [form for form, place in places.items() if _written(values.get('model'), place)]
    if forms:
        return 'both' if len(forms) == 2 else forms[0]
    bases = ast.literal_eval(values['_base_']) if '_base_' in values else []
    found = [later_form(Path(path).parent / base, name) for base in ([bases] if isinstance(bases, str) else bases)
             if '::' not in base]
    return next((form for form in found if form), '')


def _written(node: Optional[ast.AST], place: Sequence[str]) -> bool:
    """Return True if ``dict(...)`` or ``{...}`` in a program has a key, by its dotted place."""
    for key in place:
        if key == 'type' and isinstance(node, ast.Constant):
            return True  # a component that is a type alone
        items: Dict[Any, ast.AST] = {}
        if isinstance(node, ast.Call):
            items = {item.arg: item.value for item in node.keywords}
        elif isinstance(node, ast.Dict):
            items = {item.value: value for item, value in zip(node.keys, node.values) if isinstance(item, ast.Constant)}
        if key not in items:
            return False
        node = items[key]
    return True


def _has(model: Mapping[str, Any], place: str) -> bool:
    """Return True if a model's components have something at a dotted place."""
    node: Any = model
    for key in place.split('.'):
        node = dict(type=node) if isinstance(node, str) else node
        if not isinstance(node, Mapping) or key not in node:
            return False
        node = node[key]
    return True


def with_nested_keys(cfg: Config, options: Mapping[str, Any]) -> Dict[str, Any]:
    """Options by dotted key, those of flat switches that are one key of a component under that key."""
    nested = {f'model.{name}': f'model.{place}' for name, place in PLACES.items()} if _is_ours(cfg.get('model')) else {}
    return {nested.get(key, key): value for key, value in options.items()}


def flat_switches(cfg: Config, options: Mapping[str, Any]) -> Dict[str, Any]:
    """The flat switches of the model among options by dotted key, their keywords in dicts."""
    switches: Dict[str, Any] = {}
    if not _is_ours(cfg.get('model')):
        return switches
    for key, value in options.items():
        switch = switch_of(key)
        if switch:
            for part in reversed(str(key).split('.')[2:]):
                value = {part: value}
            before = switches.get(switch, {})
            switches[switch] = {**before, **value} if isinstance(value, Mapping) and isinstance(before, Mapping) else value
    return switches


def switch_of(key: Any) -> str:
    """The flat switch that a dotted key names; empty for any other key."""
    first, *parts = str(key).split('.')
    return parts[0] if first == 'model' and parts and parts[0] in FLAT else ''


def apply_switches(cfg: Config, switches: Mapping[str, Any], others: Mapping[str, Any]) -> None:
    """Put flat switches into the components of a config's model.

    Args:
        cfg: The config, its model in the nested form.
        switches: The switches.
        others: The options by dotted key that were given beside them.

    Raises:
        ValueError: as ``nested_model``, or a whole chain is given beside a switch of the chain.
    """
    of_chain = [f'model.{key}' for key in switches if FLAT[key] == 'post_processors']
    if of_chain and 'model.post_processors' in others:
        raise ValueError('model.post_processors replaces the whole chain and cannot be given together with '
                         f'{", ".join(of_chain)}')
    if switches:
        cfg.model = _with_switches(cfg.model, switches, replace=True)


def make_room(cfg: Config, key: str, value: Any) -> None:
    """Write components on the way of a dotted key that are a type alone as dicts, and empty one whose type the option sets.

    Args:
        cfg: The config.
        key: Key of the option.
        value: Its value; a dict with a type replaces what is there.
    """
    if isinstance(value, Mapping) and 'type' in value:
        key = f'{key}.type'
    *parents, last = key.split('.')
    node: Any = cfg
    for index, part in enumerate(parents):
        if isinstance(node, list) and not (part.isdecimal() and int(part) < len(node)):
            return  # merge_from_dict says why
        if not isinstance(node, list) and part not in node:
            return  # merge_from_dict makes the place, or says why it cannot
        place: Any = int(part) if isinstance(node, list) else part
        if isinstance(node[place], str) and parents[0] == 'model':
            node[place] = dict(type=node[place])
        if last == 'type' and index == len(parents) - 1 and isinstance(node[place], Mapping):
            node[place] = {}
        node = node[place]
        if not isinstance(node, (Mapping, list)):
            return


def _is_ours(model: Any) -> bool:
    """Return True if a part of a config describes a ``CLIPSegmentor``."""
    type_ = model.get('type') if isinstance(model, Mapping) else None
    class_ = MODELS.get(type_) if isinstance(type_, str) and type_ else type_
    return isinstance(class_, type) and issubclass(class_, CLIPSegmentor)


def _with_switches(model: Mapping[str, Any], switches: Mapping[str, Any], replace: bool) -> Dict[str, Any]:
    """The config of a model with flat switches in its components."""
    components = {key: model[key] for key in COMPONENTS if model.get(key) is not None}
    others = {key: value for key, value in model.items() if key not in COMPONENTS}
    return _imports_for_classes({**others, **nested_model(components, switches, replace)})


def _imports_for_classes(value: Any) -> Any:
    """A part of a config with mmengine's lazy imports in place of the classes that it gave, so that it can be written."""
    if isinstance(value, Mapping):
        return {key: _imports_for_classes(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_imports_for_classes, value))
    return LazyAttr(value.__name__, LazyObject(value.__module__)) if isinstance(value, type) else value
