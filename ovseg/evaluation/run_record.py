"""The record beside the label maps of a run: everything that they depend on.

A run is resumed only where its record is that of the run before. Label maps of images that have changed since are made again.
"""
import difflib
import json
import os
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Union

import cv2
import mmcv
import mmengine
import mmseg
import numpy as np
import open_clip
import timm
import torch
from mmengine.config import Config
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.registry import DefaultScope
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS
from torch import nn

from ovseg.claims import claim
from ovseg.components import named_errors
from ovseg.data_check.data_files import check_data_files
from ovseg.digests import code_digest, file_digest, tensors_digest
from ovseg.evaluation.label_maps import is_whole, label_map_paths
from ovseg.files import file_stamp, write_text
from ovseg.models.segmentors import CLIPSegmentor
from ovseg.utils import expanded, quoted
from ovseg.version import __version__
from ovseg.vocabulary.word_record import word_record

RECORD = 'record.json'
SHOWN = 5  # items that a message or a log line lists

Stamps = Dict[str, List[int]]


def software() -> Dict[str, str]:
    """The versions of what computes labels, and the digest of ovseg's own source."""
    modules = (cv2, mmcv, mmengine, mmseg, np, open_clip, timm, torch)
    return {'ovseg': f'{__version__}, source {code_digest()[:16]}',
            **{module.__name__: str(module.__version__) for module in modules}}


def custom_code(cfg: Config) -> Dict[str, str]:
    """Digests of the modules that the config imports by ``custom_imports``, and of theirs, apart from ovseg's."""
    names = cfg.get('custom_imports', {}).get('imports', [])
    roots = {name.split('.')[0] for name in ([names] if isinstance(names, str) else names)} - {'ovseg'}
    files = {name: getattr(module, '__file__', None) for name, module in sys.modules.items() if name.split('.')[0] in roots}
    return {name: file_digest(Path(file)) for name, file in sorted(files.items()) if file}


def run_settings(cfg: Config, model: nn.Module) -> Dict[str, Any]:
    """Everything that label maps depend on, apart from the images: what a resumed run must have in common with the first.

    ``model`` is what the run with this config has built, in its wrappers.
    """
    inner: Any = model.module if is_model_wrapper(model) else model
    segmentor = _segmentor(model)
    settings: Dict[str, Any] = {
        'config': Config(dict(model=cfg.model, dataset=cfg.test_dataloader.dataset)).pretty_text,
        'custom_imports': custom_code(cfg),
        'weights': tensors_digest(inner.state_dict()),
        'checkpoint': cfg.get('load_from') and file_digest(expanded('load_from', cfg.load_from)),
        'software': software()}
    if isinstance(segmentor, CLIPSegmentor):
        settings.update({'class list': segmentor.words.synonyms, 'templates': list(segmentor.vocabulary.sentences)})
        if segmentor.image_encoder.regions is not None:
            settings['regions'] = segmentor.image_encoder.regions.digest()
    return settings


def recorded_words(folder: Path) -> Dict[str, Any]:
    """The ``word_record`` of the label maps in ``folder``; empty where a record of ovseg's with words is not there."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding='utf-8'))
    except (FileNotFoundError, ValueError):  # another program may use the same name
        return {}
    return record.get('words', {}) if isinstance(record, dict) and 'settings' in record else {}


def _segmentor(model: nn.Module) -> Any:
    """The segmentor in its wrappers, of which test-time augmentation is one."""
    inner: Any = model.module if is_model_wrapper(model) else model
    return getattr(inner, 'module', inner)


def dataset_stamps(dataset: BaseSegDataset) -> List[Stamps]:
    """``{'image': stamp, 'mask': stamp}`` for each image of a data set in its order, see ``file_stamp``.

    Empty stamps for files of a remote storage (``backend_args``), whose time of change is not known.
    """
    infos = (dataset.get_data_info(index) for index in range(len(dataset)))
    files = (dict(image=info['img_path'], mask=info.get('seg_map_path')) for info in infos)
    return [{name: [] if path is None or dataset.backend_args else file_stamp(Path(path)) for name, path in paths.items()}
            for paths in files]


@contextmanager
def claimed_label_maps(folder: Path, cfg: Config, model: nn.Module, resume: bool) -> Iterator[None]:
    """Keep ``folder``, made if need be, for the label maps of this run, of whose processes the main one does so.

    ``resume`` adds to the label maps that are there. For ``cfg`` and ``model`` see ``run_settings``.

    Raises:
        BlockingIOError: another run is writing there.
        FileExistsError: label maps are there, and ``resume`` is False.
        OSError: the folder cannot be written into, and label maps are missing.
        ValueError: the label maps there come from other settings; names the differences.
    """
    with ExitStack() as stack:
        problem: List[Union[OSError, ValueError, None]] = [None]
        if is_main_process():
            try:
                with named_errors(str(cfg.filename or 'the config')):
                    _claim(stack, folder, cfg, model, resume)
            except (OSError, ValueError) as error:
                problem = [error]
        broadcast_object_list(problem)  # the other processes wait here until the folder is ready
        if problem[0] is not None:
            raise problem[0]
        yield


def _claim(stack: ExitStack, folder: Path, cfg: Config, model: nn.Module, resume: bool) -> None:
    """Lock and prepare ``folder``; a complete one that cannot be written into is left as it is."""
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmseg')):
        check_data_files(cfg.test_dataloader.dataset)
        dataset = DATASETS.build(cfg.test_dataloader.dataset)
    names = [path.relative_to(folder).as_posix() for path in label_map_paths(dataset, folder)]
    segmentor = _segmentor(model)
    words = dict(words=word_record(segmentor.words)) if isinstance(segmentor, CLIPSegmentor) else {}
    record = dict(words, settings=run_settings(cfg, model), files=dict(zip(names, dataset_stamps(dataset))))
    read_only = folder.is_dir() and not os.access(folder, os.W_OK)
    if not read_only:
        stack.enter_context(claim(folder))
    noted = _noted(folder, resume)
    if noted:
        _compare(folder, noted['settings'], record['settings'])
    stale = _stale(folder, record['files'], noted.get('files', {}))
    if read_only:
        if stale or not all((folder / name).is_file() for name in names):
            raise PermissionError(f'{quoted(folder)} cannot be written into, and not all of its label maps are there and up '
                                  'to date')
        return
    for name in stale:
        (folder / name).unlink()
    write_text(folder / RECORD, json.dumps(dict(record, files={**noted.get('files', {}), **record['files']}), indent=1))


def _noted(folder: Path, resume: bool) -> Dict[str, Any]:
    """The record in ``folder``; empty where there are no label maps yet."""
    if next(folder.rglob('*.png'), None) is None:
        return {}
    if not resume:
        raise FileExistsError(f'{quoted(folder)} holds label maps already: go on with --resume, or choose another folder')
    path = folder / RECORD
    try:
        noted = json.loads(path.read_text(encoding='utf-8'))
        return dict(settings=dict(noted['settings']), files=dict(noted['files']))
    except FileNotFoundError as error:
        raise ValueError(f'{quoted(folder)} holds label maps without {RECORD}, so that nothing tells what they come from: '
                         'choose another folder') from error
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f'{quoted(path)} is damaged ({error}), so that nothing tells what its label maps come from: choose '
                         'another folder') from error


def _compare(folder: Path, noted: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse settings that differ from those of the label maps in ``folder``."""
    keys = [key for key in {**noted, **now} if noted.get(key) != now.get(key)]
    if keys:
        raise ValueError(f'{quoted(folder)} holds label maps of other settings, which must not be mixed. Different: '
                         f'{", ".join(keys)}\n' + '\n'.join(line for key in keys for line in _difference(
                             key, noted.get(key), now.get(key))))


def _difference(name: str, noted: Any, now: Any) -> List[str]:
    """The lines of a setting that differ."""
    before, after = ((value if isinstance(value, str) else json.dumps(value, indent=1, ensure_ascii=False)).splitlines()
                     for value in (noted, now))
    return list(difflib.unified_diff(before, after, f'{name} of the label maps', f'{name} of this run', lineterm='', n=0))


def _stale(folder: Path, now: Mapping[str, Stamps], noted: Mapping[str, Stamps]) -> List[str]:
    """The label maps that have to be made again: damaged, or of an image that has changed."""
    there = [name for name in now if (folder / name).is_file()]
    changed = [name for name in there if noted.get(name, {}).get('image') != now[name]['image']]
    damaged = [name for name in there if name not in changed and not is_whole(folder / name)]
    for names, what in ((changed, 'of images that have changed'), (damaged, 'that are damaged')):
        if names:
            listed = ', '.join(map(quoted, names[:SHOWN])) + (', ...' if len(names) > SHOWN else '')
            print_log(f'{len(names)} label maps {what} are made again: {listed}', 'current', 30)
    return [*changed, *damaged]
