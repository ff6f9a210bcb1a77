"""The settings of an ablation: one for each row of its tables."""
import hashlib
import json
import shlex
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence, Tuple

from mmengine.config import Config
from mmengine.logging import print_log
from mmseg.registry import METRICS, MODELS

from ovseg.ablation.axes import Axes, Step, as_written, axes_of, chains
from ovseg.ablation.word_axes import word_axes
from ovseg.components import build_component, build_registered
from ovseg.config import metrics_of, read_config
from ovseg.evaluation.boundary_iou import BoundaryIoUMetric, is_metric
from ovseg.evaluation.run_record import custom_code, software
from ovseg.models.guides import build_guide
from ovseg.models.regions import build_regions
from ovseg.models.segmentors import CLIPSegmentor
from ovseg.models.segmentors.switches import CHAIN, COMPONENTS, PLACES, SIMILARITY, switch_value
from ovseg.models.towers.loading import load_clip, weights_digest
from ovseg.models.upsamplers import Upsampler
from ovseg.registry import UPSAMPLERS
from ovseg.utils import check_arguments, check_dict, quoted, shown, type_name
from ovseg.vocabulary import Vocabulary
from ovseg.vocabulary.background import Background

SWITCH_OF = {'similarity_enhancement_cfg': SIMILARITY,
             **{module.keywords: module.switch for module in CHAIN if module.keywords}}
NESTED = {f'model.{flat}': f'model.{nested}' for flat, nested in PLACES.items()}


@dataclass(frozen=True)
class Setting:
    """One row.

    Attributes:
        benchmark: Short name of the config that its Δ is taken from.
        name: What it changes; the first setting of a benchmark is its baseline.
        config: The config file, as the user named it.
        options: Overrides of it by dotted key.
        points: By grid axis the value here, and the name of what else is changed: a point, and the line that it lies on.
    """
    benchmark: str
    name: str
    config: str
    options: Mapping[str, Any]
    points: Mapping[str, Tuple[Any, str]]

    @cached_property
    def cfg(self) -> Config:
        """The config with the options in it."""
        return read_config(self.config, self.options)

    @cached_property
    def metric(self) -> Dict[str, Any]:
        """The config's ``IoUMetric``."""
        return _iou_metric(self.cfg)

    @cached_property
    def digest(self) -> str:
        """Of everything that the figures depend on, apart from images and masks."""
        words = build_component('vocabulary', Vocabulary, self.cfg.model.get('vocabulary'))
        model = self.cfg.model
        parts = [model.get('image_encoder'), *model.get('post_processors', [])]
        guides = [build_guide('guide', part['guide']).weights_digest() for part in parts
                  if isinstance(part, Mapping) and part.get('guide')]
        regions = [build_regions('regions', part['regions']).digest() for part in parts
                   if isinstance(part, Mapping) and part.get('regions')]
        upsampler = model.get('upsampler')
        if upsampler is not None:
            upsampler = build_registered('upsampler', UPSAMPLERS, Upsampler, upsampler).weights_digest()
        pool = words.background.pool if isinstance(words.background, Background) else None
        return _digest(dict(self._content(model), class_list=words.synonyms, templates=words.sentences, pool=pool,
                            guides=guides, regions=regions, upsampler=upsampler))

    @cached_property
    def weights_digest(self) -> str:
        """Of the weights, the network's input, the data set and the metric: settings with one run side by side."""
        return _digest(self._content({key: value for key, value in self.cfg.model.items()
                                      if key == 'clip' or key not in COMPONENTS}))

    @property
    def command(self) -> str:
        """The command that repeats this row alone."""
        options = [f'{name}={text}' for key, value in self.options.items() for name, text in as_written(key, value).items()]
        return shlex.join(['ovseg', 'test', self.config, *(['--cfg-options', *options] if options else [])])

    def _content(self, model: Mapping[str, Any]) -> Dict[str, Any]:
        clip = check_dict('clip', self.cfg.model.get('clip'))
        check_arguments('clip', load_clip, clip)
        return dict(software=software(), custom_imports=custom_code(self.cfg), model=model, weights=weights_digest(**clip),
                    dataset=self.cfg.test_dataloader.dataset, metric=self.metric, test_cfg=self.cfg.get('test_cfg'))


def all_settings(configs: Sequence[str], axes: Axes, options: Mapping[str, Any],
                 words: Path = Path('words')) -> List[Setting]:
    """Every row of an ablation, benchmark by benchmark, the baseline first.

    Args:
        configs: A config file for each benchmark.
        axes: What is varied. A method is a row of the benchmarks whose data set it evaluates on.
        options: Overrides of all configs by dotted key.
        words: Folder that the class lists of ``axes.vocabulary`` are written into.

    Raises:
        FileNotFoundError: a variant of the vocabulary is neither a known one nor a file.
        ValueError: a config cannot be compared, a method fits no benchmark, two of them have one name, or a variant cannot be
            made.
    """
    methods = {method: data_of(_checked(method, options)) for method in axes.methods}
    data = {config: data_of(_checked(config, options)) for config in configs}
    others = [method for method, its_data in methods.items() if its_data not in data.values()]
    if others:
        raise ValueError(f'{", ".join(map(quoted, others))} evaluate on another data set than '
                         f'{", ".join(map(quoted, configs))}')
    settings: List[Setting] = []
    for config, benchmark in zip(configs, short_names(configs)):
        beside = [method for method, its_data in methods.items()
                  if its_data == data[config] and Path(method).resolve() != Path(config).resolve()]
        names = short_names([config, *beside])
        first = f'{names[0]} (baseline)' if beside else 'baseline'
        settings += _rows(benchmark, config, first, [], axes, options, words)
        for method, name in zip(beside, names[1:]):
            rows = _rows(benchmark, method, name, [name], axes, options, words)
            settings += rows if axes.combine == 'full' else rows[:1]
    for setting in settings:
        _warn_of_no_effect(setting)
    return settings


def single_setting(config: str, options: Mapping[str, Any]) -> Setting:
    """The setting of a config alone, with ``options`` by dotted key.

    Raises:
        ValueError: the config cannot be measured per image and class.
    """
    _checked(config, options)
    return Setting(Path(config).stem, 'baseline', config, dict(options), {})


def short_names(paths: Sequence[str]) -> List[str]:
    """The names of config files without what all of them begin and end with, cut at underscores.

    Raises:
        ValueError: two files have one name.
    """
    stems = [Path(path).stem for path in paths]
    twice = {stem for stem in stems if stems.count(stem) > 1}
    if twice:
        raise ValueError(f'several configs are called {", ".join(map(quoted, sorted(twice)))}: tables could not tell '
                         'them apart')
    parts = [stem.split('_') for stem in stems]
    shared = (takewhile(lambda items: len(set(items)) == 1, zip(*some)) for some in (parts, [part[::-1] for part in parts]))
    front, back = (0 if len(parts) == 1 else len(list(some)) for some in shared)
    for first, last in ((front, back), (0, back), (front, 0)):
        names = ['_'.join(part[first:len(part) - last]) for part in parts]
        if all(names):
            return names
    return stems


def data_of(cfg: Config) -> Dict[str, Any]:
    """The part of a config that names the images and labels of its evaluation."""
    return {key: value for key, value in cfg.test_dataloader.dataset.items() if key != 'pipeline'}


def _rows(benchmark: str, config: str, first: str, start: Sequence[str], axes: Axes,
          options: Mapping[str, Any], words: Path) -> List[Setting]:
    """The rows that go out from one config: itself, called ``first``, and others, whose names begin with ``start``."""
    plain = Setting(benchmark, first, config, dict(options), {})
    rows = [plain]
    steps = [*axes_of(axes, plain.cfg.model), *word_axes(axes, plain.cfg, words)]
    for chain in chains(steps, axes.combine)[1:]:
        changes = {key: value for step in chain for key, value in step.options.items()}
        kept = {key: value for key, value in options.items() if NESTED.get(key) not in changes}
        named = chain[-1:] if axes.combine == 'cumulative' else chain
        points = {key: (value, _name(start, [other for other in chain if other is not step]))
                  for step in chain for key, value in step.values.items()}
        rows.append(Setting(benchmark, _name(start, named), config, {**kept, **changes}, points))
    return rows


def _name(start: Sequence[str], steps: Sequence[Step]) -> str:
    return ', '.join([*start, *(step.name for step in steps)])


def _checked(config: str, options: Mapping[str, Any]) -> Config:
    """The config of a file, if this tool can compare it."""
    cfg = read_config(config, options, ['model.type', 'test_dataloader.dataset', 'test_evaluator'])
    if MODELS.get(type_name(cfg.model.type)) is not CLIPSegmentor:
        raise ValueError(f'{quoted(config)} has model.type={shown(cfg.model.type)}; only settings of CLIPSegmentor are '
                         'compared here')
    if _iou_metric(cfg) is None:
        raise ValueError(f'{quoted(config)} has no IoUMetric with mIoU in its test_evaluator, which tables and intervals '
                         'are made of')
    if any(is_metric(metric, BoundaryIoUMetric) for metric in metrics_of(cfg.test_evaluator)):
        raise ValueError(f'{quoted(config)} has a BoundaryIoUMetric in its test_evaluator, which is not measured here: leave '
                         'it out')
    if cfg.get('load_from'):
        raise ValueError(f'{quoted(config)} has load_from={shown(cfg.load_from)}; put the weights into model.clip.pretrained')
    return cfg


def _iou_metric(cfg: Config) -> Any:
    """The first ``IoUMetric`` with mIoU of a config; None where there is none."""
    type_ = METRICS.get('IoUMetric')
    for metric in metrics_of(cfg.test_evaluator):
        if METRICS.get(type_name(metric['type'])) is type_ and 'mIoU' in metric.get('iou_metrics', ['mIoU']):
            return metric
    return None


def _warn_of_no_effect(setting: Setting) -> None:
    """Warn of grid keys that are keywords of a module that the setting does not have."""
    for key in setting.points:
        switch = SWITCH_OF.get(key.split('.')[1] if key.startswith('model.') else '')
        if switch and not switch_value(setting.cfg.model, switch):
            print_log(f'{quoted(setting.benchmark)}, {quoted(setting.name)}: {key} has no effect, model.{switch} is off',
                      'current', 30)


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=repr).encode()).hexdigest()[:20]
