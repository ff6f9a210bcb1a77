"""Reading configs."""
import inspect
import traceback
from itertools import accumulate
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence, Tuple, Union

from mmengine.config import Config
from mmengine.runner import Runner

from ovseg.cfg_options import DEEPEST
from ovseg.components import named_errors
from ovseg.model_options import apply_switches, flat_switches, make_room, nest_model, switch_of, with_nested_keys
from ovseg.utils import check_keys, one_line, quoted, read_small_text, shown

LOOKED_UP_BY_RUNNER = {'activation_checkpointing', 'compile', 'efficient_conv_bn_eval', 'find_unused_parameters',
                       'model_wrapper_cfg', 'sync_bn'}  # in the config, without being an argument of its
READ = {*inspect.signature(Runner).parameters, *LOOKED_UP_BY_RUNNER, 'custom_imports', 'tta_model', 'tta_pipeline'}

LARGEST_FILE = 2 ** 24  # bytes
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
    read_small_text('config', path, LARGEST_FILE)  # mmengine would read a device without end
    try:
        cfg = Config.fromfile(path)
    except (Exception, SystemExit) as error:  # a config is a program, which may raise anything
        raise ValueError(f'{quoted(path)} is no config: {_reason(error, path)}') from error
    merge_options(cfg, options, str(path))
    check_config(cfg, str(path), needed)
    return cfg


def check_config(cfg: Config, name: str, needed: Sequence[str] = ()) -> None:
    """Refuse a config whose keys are not of the kind that mmengine and ovseg take them for, or that lacks one of ``needed``.

    Raises:
        ValueError: a dotted key is missing, or something else than ``KINDS`` has; has the key and the ``name`` of the config.
    """
    with named_errors(name):  # a lazy config imports what it names when it is looked at
        for kind, (description, keys) in KINDS.items():
            for key in keys:
                value = _value(cfg, key)
                if value is not None and not isinstance(value, kind):
                    raise ValueError(f'{quoted(name)}: {key}={shown(value)} must be {description}')
        for key in needed:
            for part in accumulate(key.split('.'), '{}.{}'.format):
                if _value(cfg, part) is None:
                    raise ValueError(f'{quoted(name)} has no {part!r}')


def metrics_of(evaluator: Any) -> List[Any]:
    """The configs of the metrics of a ``test_evaluator``, which is one of them, or a list or tuple of them.

    Raises:
        ValueError: one of them is no dict with a type.
    """
    metrics = list(evaluator) if isinstance(evaluator, SEQUENCE) else [evaluator]
    for metric in metrics:
        if not isinstance(metric, Mapping) or not metric.get('type'):
            raise ValueError(f'test_evaluator has {shown(metric)}, which must be a dict with a type')
    return metrics


def merge_options(cfg: Config, options: Mapping[str, Any], name: str) -> None:
    """Merge settings by dotted key into a config that errors call ``name``, and bring the model into its nested form.

    ``X.type=T`` replaces X: its keywords are another type's, and only those given in ``options`` remain. A flat switch such as
    ``model.apply_ctd=True`` sets the component that it belongs to, see ``ovseg.models.segmentors.switches``. A component that
    is a type alone may be given keywords.

    Raises:
        ValueError: the first part of a key stands neither in the config nor among what is read of one, it is a variable from
            which the config has made something else already, which ``merge_from_dict`` would accept silently, or there is
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
        nest_model(cfg)
    options = with_nested_keys(cfg, options)
    switches = flat_switches(cfg, options)
    rest = {key: value for key, value in options.items() if switch_of(key) not in switches}
    try:
        for key in rest:
            make_room(cfg, str(key), rest[key])
        cfg.merge_from_dict(rest)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:  # of a key behind something that has none
        raise ValueError(f'{", ".join(map(quoted, options))} cannot be set in {quoted(name)}: {one_line(error)}') from error
    apply_switches(cfg, switches, rest)
    if isinstance(cfg.get('model'), dict) and cfg.get('data_preprocessor') is not None:
        cfg.model.setdefault('data_preprocessor', cfg.pop('data_preprocessor'))  # where mmengine's Runner would put it


def _value(cfg: Any, key: str) -> Any:
    """Value of a dotted key; None where there is none."""
    for part in key.split('.'):
        cfg = cfg.get(part) if isinstance(cfg, (Config, Mapping)) else None
    return cfg


def _reason(error: BaseException, path: Union[str, Path]) -> str:
    """Reason why a config cannot be read, with the file (its own or a base config) and the line."""
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
