"""Reading configs."""
import argparse
import inspect
import re
import traceback
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from mmengine.config import Config, DictAction
from mmengine.config.lazy import LazyAttr, LazyObject
from mmengine.runner import Runner
from mmseg.registry import MODELS

from ovseg.components import named_errors
from ovseg.models.segmentors import CLIPSegmentor
from ovseg.models.segmentors.switches import COMPONENTS, FLAT, nested_model
from ovseg.utils import check_keys, one_line, quoted, read_small_text, shown

LOOKED_UP_BY_RUNNER = {'activation_checkpointing', 'compile', 'efficient_conv_bn_eval', 'find_unused_parameters',
                       'model_wrapper_cfg', 'sync_bn'}  # in the config, without being an argument of its
READ = {*inspect.signature(Runner).parameters, *LOOKED_UP_BY_RUNNER, 'custom_imports', 'tta_model', 'tta_pipeline'}

LARGEST_FILE = 2 ** 24  # bytes
DEEPEST = 50  # config files on top of each other, brackets in each other
SEQUENCE = (list, tuple)
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
KINDS: Dict[Any, Tuple[str, Sequence[str]]] = {  # what mmengine needs keys to be; it stops at others wherever they are used
    Mapping: ('a dict', ['model', *LOADERS, *(f'{loader}.{part}' for loader in LOADERS for part in ('dataset', 'sampler')),
                         'train_cfg', 'val_cfg', 'test_cfg', 'optim_wrapper', 'default_hooks', 'env_cfg', 'env_cfg.mp_cfg',
                         'env_cfg.dist_cfg', 'visualizer', 'log_processor', 'randomness', 'tta_model', 'custom_imports']),
    (Mapping, *SEQUENCE): ('a dict or a list', ['train_evaluator', 'val_evaluator', 'test_evaluator', 'param_scheduler']),
    SEQUENCE: ('a list', ['custom_hooks', 'tta_pipeline', *(f'{loader}.dataset.pipeline' for loader in LOADERS)]),
    str: ('a string', ['work_dir', 'load_from', 'launcher', 'default_scope', 'experiment_name']),
    (str, int): ('the name of a level, e.g. INFO', ['log_level']),
    bool: ('True or False', ['resume'])}


def read_config(path: Union[str, Path], options: Mapping[str, Any], needed: Sequence[str] = ()) -> Config:
    """The config file ``path`` with ``options`` merged in.

    Args:
        path: A config file of mmengine.
        options: Settings by dotted key, as ``--cfg-options`` gives them: ``{'model.logit_scale': 50}``.
        needed: See ``check_config``.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it cannot be read.
        ValueError: the file is no config, an option is refused by ``merge_options``, or the result by ``check_config``.
    """
    read_small_text('config', path, LARGEST_FILE)  # mmengine would read a device for ever
    try:
        cfg = Config.fromfile(path)
    except (Exception, SystemExit) as error:  # a config is a program, which may raise anything
        raise ValueError(f'{quoted(path)} is no config: {_reason(error, path)}') from error
    merge_options(cfg, options, str(path))
    check_config(cfg, str(path), needed)
    return cfg


def check_config(cfg: Config, name: str, needed: Sequence[str] = ()) -> None:
    """Refuse a config whose keys are not of the kind that mmengine and ovseg take them for.

    Args:
        cfg: The config.
        name: For errors.
        needed: Dotted keys that must be there.

    Raises:
        ValueError: one is missing, or something else than ``KINDS`` has; names the config and the key.
    """
    with named_errors(name):  # a lazy config imports what it names when it is looked at
        for kind, (words, keys) in KINDS.items():
            for key in keys:
                value = _value(cfg, key)
                if value is not None and not isinstance(value, kind):
                    raise ValueError(f'{quoted(name)}: {key}={shown(value)} must be {words}')
        for key in needed:
            parts = key.split('.')
            for depth in range(len(parts)):
                part = '.'.join(parts[:depth + 1])
                if _value(cfg, part) is None:
                    raise ValueError(f'{quoted(name)} has no {part!r}')


def merge_options(cfg: Config, options: Mapping[str, Any], name: str) -> None:
    """Merge settings by dotted key into a config that errors call ``name``, and bring the model into its nested form.

    ``X.type=T`` replaces X: its keywords are another type's, and only those given in ``options`` remain. A flat switch such as
    ``model.apply_ctd=True`` sets the component that it belongs to, see ``ovseg.models.segmentors.switches``. A component that
    is a type alone may be given keywords.

    Raises:
        ValueError: the first part of a key stands neither in the config nor among what is read of one, it is a variable from
            which the config has made something else already, which ``merge_from_dict`` would take without a word, or there is
            no place for the key in the config.
    """
    for key in options:
        first = str(key).split('.')[0]
        check_keys(quoted(name), {first: None}, {*cfg, *READ})
        if first not in READ:
            raise ValueError(f'{quoted(key)}={shown(options[key])} would change nothing: {quoted(first)} is a variable of '
                             f'{quoted(name)}, and what is made of it stands elsewhere by now; set that, e.g. '
                             'test_dataloader.dataset.data_root, test_dataloader.dataset.pipeline.1.scale or '
                             'visualizer.vis_backends.0.type')
    with named_errors(name):
        flat = _nest(cfg, options)
    rest = {key: value for key, value in options.items() if not (flat is not None and _switch(key))}
    try:
        for key in rest:
            _make_room(cfg, key)
        cfg.merge_from_dict(rest)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:  # of a key behind something that has none
        raise ValueError(f'{", ".join(map(quoted, options))} cannot be set in {quoted(name)}: {one_line(error)}') from error
    if flat:
        given = {key.split('.')[1] for key in rest if key.startswith('model.')}
        chain = [key for key in flat if FLAT[key] == 'post_processors' and flat[key]]
        if 'post_processors' in given and chain and 'model.post_processors' in rest:
            raise ValueError(f'model.post_processors replaces the whole chain and cannot be given together with '
                             f'{", ".join(f"model.{key}" for key in chain)}')
        cfg.model = _with_switches(cfg.model, flat, replace=True)
    if isinstance(cfg.get('model'), dict) and cfg.get('data_preprocessor') is not None:
        cfg.model.setdefault('data_preprocessor', cfg.pop('data_preprocessor'))  # where mmengine's Runner would put it


def _nest(cfg: Config, options: Mapping[str, Any]) -> Optional[Dict[str, Any]]:
    """Bring the config's model into its nested form.

    Returns:
        The flat switches among ``options``, with what is given of their keywords; None where the model is no ``CLIPSegmentor``.
    """
    model = cfg.get('model')
    if not isinstance(model, Mapping) or not issubclass(_class_of(model), CLIPSegmentor):
        return None
    switches = {key: model[key] for key in model if key in FLAT}
    if switches:
        cfg.model = _with_switches({key: model[key] for key in model if key not in switches}, switches, replace=False)
    flat: Dict[str, Any] = {}
    for key, value in options.items():
        switch = _switch(key)
        if switch:
            for part in reversed(str(key).split('.')[2:]):
                value = {part: value}
            flat[switch] = {**flat.get(switch, {}), **value} if isinstance(value, Mapping) else value
    return flat


def _switch(key: Any) -> str:
    """The flat switch that an option sets; empty for any other option."""
    first, *parts = str(key).split('.')
    return parts[0] if first == 'model' and parts and parts[0] in FLAT else ''


def _with_switches(model: Mapping[str, Any], switches: Mapping[str, Any], replace: bool) -> Dict[str, Any]:
    """A config of a ``CLIPSegmentor`` with flat switches in its components; what mmseg's tools set stays outside."""
    switches = dict(switches)
    if 'clip' in model and switches.get('pretrained', '') is None and not replace:
        del switches['pretrained']
    components = {key: model[key] for key in COMPONENTS if model.get(key) is not None}
    others = {key: value for key, value in model.items() if key not in COMPONENTS}
    return _imports_for_classes({**others, **nested_model(components, switches, replace)})


def _imports_for_classes(value: Any) -> Any:
    """A part of a config with mmengine's lazy imports in place of the classes that it gave for them, so that it can be written."""
    if isinstance(value, Mapping):
        return {key: _imports_for_classes(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_imports_for_classes, value))
    return LazyAttr(value.__name__, LazyObject(value.__module__)) if isinstance(value, type) else value


def _class_of(model: Mapping[str, Any]) -> type:
    """The class that a model's config names; ``object`` where there is none."""
    type_ = model.get('type')
    found = MODELS.get(type_) if isinstance(type_, str) and type_ else type_
    return found if isinstance(found, type) else object


def _make_room(cfg: Config, key: str) -> None:
    """Write components on the way of a dotted key that are a type alone as dicts, and empty one whose type the key sets."""
    *parents, last = str(key).split('.')
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


def setting(text: str) -> str:
    """``text``, if mmengine's ``DictAction`` reads it as it is meant: the ``type`` of an argument ``--cfg-options``.

    Raises:
        argparse.ArgumentTypeError: no ``KEY=VALUE``, brackets that do not match or that enclose a part of a value, or
            a space that it would drop.
    """
    _, equals, value = text.partition('=')
    if not equals:
        raise argparse.ArgumentTypeError(f'{shown(text)} is not KEY=VALUE (what has no name stands in front of --cfg-options)')
    if not _brackets_match(value):
        raise argparse.ArgumentTypeError(f'{shown(text)}: the brackets do not match')
    try:
        DictAction([], 'options')(argparse.ArgumentParser(), argparse.Namespace(), [text])
    except (AssertionError, RecursionError) as error:  # of a comma in brackets behind something else: x=a[1,2]
        raise argparse.ArgumentTypeError(f'{shown(text)}: the brackets must enclose a whole value') from error
    if re.search(r'[^\s,(\[] +[^\s,)\]]', value):
        raise argparse.ArgumentTypeError(f'{shown(text)}: the spaces would be lost; such values have to stand in a config')
    return text


def _brackets_match(value: str) -> bool:
    """Whether each bracket is closed by its own kind, and not too many stand in each other."""
    open_: List[str] = []
    for character in value:
        if character in '([':
            open_.append(')' if character == '(' else ']')
        elif character in ')]' and (not open_ or open_.pop() != character):
            return False
        if len(open_) > DEEPEST:
            return False
    return not open_


def _value(cfg: Any, key: str) -> Any:
    """What stands under a dotted key; None where nothing does."""
    for part in key.split('.'):
        cfg = cfg.get(part) if isinstance(cfg, (Config, Mapping)) else None
    return cfg


def _reason(error: BaseException, path: Union[str, Path]) -> str:
    """What is wrong with a config, with the file, of it and those that it builds on, and the line where it was found."""
    frames = list(traceback.walk_tb(error.__traceback__))
    readers = [frame for frame, _ in frames if frame.f_code.co_name in ('_file2dict', '_parse_lazy_import', '_is_lazy_import')]
    if len(readers) > DEEPEST:
        return 'it builds on itself, by _base_ or read_base'
    files = [str(frame.f_locals.get('filename')) for frame in readers] or [str(path)]
    lines = [line for frame, line in frames if frame.f_code.co_filename == files[-1]]
    line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
    if isinstance(error, ImportError) and error.__cause__:
        error = error.__cause__  # without mmengine's list of folders
    reason = error.msg if isinstance(error, SyntaxError) else one_line(error)
    return f'{type(error).__name__}: {reason} ({quoted(files[-1])}{f", line {line}" if line else ""})'
