"""Run settings: the CLIP is loaded once, each image is read once, and goes through each different image encoder once."""
import copy
import json
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence

from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.logging import MessageHub, print_log
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS
from mmseg.structures import SegDataSample

from ovseg.ablation.rows import PIXELS, RowWriter, row_file
from ovseg.ablation.settings import Setting
from ovseg.ablation.sharing import SettingsModel
from ovseg.claims import claim
from ovseg.data_check.checked_labels import check_labels
from ovseg.data_check.data_files import check_data_files
from ovseg.engine import VocabularyCheckHook
from ovseg.engine.brief_runner import BriefRunner
from ovseg.evaluation.areas import class_areas
from ovseg.evaluation.run_record import Stamps, dataset_stamps
from ovseg.evaluation.undefined_pixels import warn_of_undefined
from ovseg.files import write_text
from ovseg.utils import quoted
from ovseg.vocabulary.word_record import word_record

NOTE = 'ablation.json'
RUNNER_KEYS = ('env_cfg', 'log_processor', 'log_level', 'default_scope', 'randomness')


@contextmanager
def claimed_folder(folder: Path, settings: Sequence[Setting]) -> Iterator[None]:
    """Keep ``folder`` for an ablation, and note there what its baselines are. Rows that have to be made again are reopened.

    Raises:
        BlockingIOError: another ablation is writing there.
        ValueError: another ablation is there, with other baselines.
    """
    baselines: Dict[str, str] = {}
    for setting in settings:
        baselines.setdefault(setting.benchmark, setting.command)
    note = folder / NOTE
    with claim(folder):
        noted = json.loads(note.read_text(encoding='utf-8')) if note.is_file() else baselines
        if noted != baselines:
            raise ValueError(f'{quoted(folder)} holds another ablation, whose baselines are\n  ' + '\n  '.join(noted.values())
                             + '\nand not\n  ' + '\n  '.join(baselines.values()) + '\nchoose another --work-dir')
        write_text(note, json.dumps(baselines, indent=1))
        for writer in _writers(settings, folder).values():
            writer.reopen()
        yield


class Pass:
    """Settings that share the weights, evaluated on a data set together.

    Args:
        settings: With one ``weights_digest``.
        dataset: Theirs.
        baselines: Settings with the same digest whose labels the others' are compared with; they run as well, and have no row
            here unless they are among ``settings``.
    """

    def __init__(self, settings: Sequence[Setting], dataset: BaseSegDataset, baselines: Sequence[Setting] = ()) -> None:
        self.settings, self.dataset = settings, dataset
        self.all = list({setting.digest: setting for setting in (*settings, *baselines)}.values())
        self.baselines = {setting.digest for setting in baselines}
        self.model: Optional[SettingsModel] = None

    def build(self) -> SettingsModel:
        """The model; every class list in it fits the data set."""
        model = SettingsModel(self.all)
        for segmentor in model.segmentors:
            VocabularyCheckHook().before_test(SimpleNamespace(
                model=segmentor, test_dataloader=SimpleNamespace(dataset=self.dataset), message_hub=MessageHub('ablation')))
        return model

    def evaluate(self, folder: Path) -> None:
        """Finish the rows in ``folder``: on the images that are not in all of them yet."""
        model, self.model = self.model or self.build(), None
        stamps = image_stamps(self.dataset)
        images = list(stamps)
        writers = [RowWriter(folder, setting.digest, stamps) for setting in self.settings]
        done = {image for image in images if all(image in writer.lines for writer in writers)}
        for writer in writers:
            writer.keep([image for image in images if image in done])
        left = [index for index, image in enumerate(images) if image not in done]
        if left:
            compared = {place: setting.digest for place, setting in enumerate(self.all) if setting.digest in self.baselines}
            evaluator = _RowsEvaluator(writers, self.settings[0].metric.get('ignore_index', 255), compared)
            self._runner(model, evaluator, left, folder).test()
        for setting, writer, segmentor in zip(self.settings, writers, model.segmentors):
            writer.finish(images, dict(command=setting.command, words=word_record(segmentor.words),
                                       classes=list(self.dataset.metainfo['classes'])))

    def _runner(self, model: SettingsModel, evaluator: Evaluator, indices: Sequence[int], folder: Path) -> Runner:
        """A Runner as the config has it, without what writes or draws predictions."""
        cfg = self.settings[0].cfg
        wanted = {key: cfg[key] for key in RUNNER_KEYS if key in cfg}
        hooks = {name: hook for name, hook in cfg.get('default_hooks', {}).items() if name in ('timer', 'logger')}
        subset = copy.deepcopy(self.dataset)
        subset.get_subset_(indices)  # get_subset keeps a memo of ids over calls, in which freed objects live on as others
        loader = Runner.build_dataloader(dict(cfg.test_dataloader, dataset=subset))
        return BriefRunner(model=model, work_dir=str(folder / 'logs'), test_dataloader=loader, test_cfg=cfg.get('test_cfg', {}),
                      test_evaluator=evaluator, default_hooks=hooks, experiment_name=self.settings[0].weights_digest, **wanted)


def image_stamps(dataset: BaseSegDataset) -> Dict[str, Stamps]:
    """The stamps of the files of each image, in the order of the data set."""
    return {dataset.get_data_info(index)['img_path']: stamps for index, stamps in enumerate(dataset_stamps(dataset))}


def plan(settings: Sequence[Setting], folder: Path) -> List[Pass]:
    """Passes that are left to do in ``folder``. Every setting has been built once, and found its data, before anything runs.

    Raises:
        ValueError: a setting cannot be built, its class list does not fit its data set, or a label map has errors.
        FileNotFoundError: weights or data are missing.
    """
    baselines: Dict[str, Setting] = {}
    for setting in settings:
        baselines.setdefault(setting.benchmark, setting)
    passes = [Pass(group, build_dataset(group[0].cfg), [baseline for baseline in baselines.values()
                                                        if baseline.weights_digest == group[0].weights_digest])
              for group in unfinished_groups(settings, folder)]
    for one in passes:
        check_labels(one.dataset, one.settings[0].metric.get('ignore_index', 255))
    for later in passes[1:]:  # built again when their turn comes: all models at once might not fit into memory
        later.build()
    for first in passes[:1]:
        first.model = first.build()
    return passes


def run(passes: Sequence[Pass], folder: Path) -> None:
    """Evaluate what ``plan`` has found, one after the other."""
    for number, one in enumerate(passes, 1):
        print_log(f'pass {number} of {len(passes)} over the data set, {len(one.dataset)} images, for '
                  + '; '.join(quoted(setting.name) for setting in one.settings), 'current')
        one.evaluate(folder)


def unfinished_groups(settings: Sequence[Setting], folder: Path) -> List[List[Setting]]:
    """The settings without a finished row, each once, those that share weights together."""
    groups: Dict[str, List[Setting]] = {}
    seen = {digest for digest, writer in _writers(settings, folder).items() if writer.finished}
    for setting in settings:
        if setting.digest not in seen:
            groups.setdefault(setting.weights_digest, []).append(setting)
        seen.add(setting.digest)
    return list(groups.values())


def _writers(settings: Sequence[Setting], folder: Path) -> Dict[str, RowWriter]:
    """The writers, by digest, of the settings for which there is a file with the name of a finished row."""
    stamps: Dict[str, Dict[str, Stamps]] = {}
    writers = {}
    for setting in settings:
        if row_file(folder, setting.digest).is_file():
            dataset = repr(setting.cfg.test_dataloader.dataset)
            if dataset not in stamps:
                stamps[dataset] = image_stamps(build_dataset(setting.cfg))
            writers[setting.digest] = RowWriter(folder, setting.digest, stamps[dataset])
    return writers


class _RowsEvaluator(Evaluator):
    """Writes the areas of every image and setting, instead of summing them up."""

    def __init__(self, writers: Sequence[RowWriter], ignore_index: int, baselines: Mapping[int, str]) -> None:
        super().__init__([])
        self.writers, self.ignore_index = writers, ignore_index
        self.baselines = baselines  # digests by place
        self.undefined: Dict[str, int] = {}  # pixels without a class by image, whatever the setting

    def process(self, data_samples: Sequence[List[SegDataSample]], data_batch: Any = None) -> None:
        classes = len(self.dataset_meta['classes'])
        known = {digest: {sample.img_path: sample.pred_sem_seg.data.squeeze(0) for sample in data_samples[place]}
                 for place, digest in self.baselines.items()}
        for writer, samples in zip(self.writers, data_samples):
            for sample in samples:
                labels, ground_truth = (field.data.squeeze(0) for field in (sample.pred_sem_seg, sample.gt_sem_seg))
                changed = {digest: int((labels != before[sample.img_path]).sum()) for digest, before in known.items()}
                areas = class_areas(labels, ground_truth, classes, self.ignore_index)
                writer.add(sample.img_path, areas.cpu().numpy(), {**changed, PIXELS: labels.numel()})
                if 'nonfinite_pixels' in sample:
                    self.undefined[sample.img_path] = max(self.undefined.get(sample.img_path, 0), sample.nonfinite_pixels)

    def evaluate(self, size: int) -> Dict[str, float]:
        warn_of_undefined(self.undefined, 'their scores are not finite (NaN or Inf)')
        return {}


def build_dataset(cfg: Config) -> BaseSegDataset:
    """The data set of a config's evaluation, of which no file is missing.

    Raises:
        FileNotFoundError: see ``check_data_files``.
        ValueError: it is not of images and masks, or holds an image twice; names the image.
    """
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    check_data_files(cfg.test_dataloader.dataset)
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    if not isinstance(dataset, BaseSegDataset):
        raise ValueError(f'an ablation needs a data set of images and masks (BaseSegDataset), not {type(dataset).__name__}')
    images = Counter(dataset.get_data_info(index)['img_path'] for index in range(len(dataset)))
    twice = [image for image, count in images.items() if count > 1]
    if twice:
        raise ValueError(f'{quoted(twice[0])} is in the data set {images[twice[0]]} times, and areas are kept once per image: '
                         'test_dataloader.dataset (indices, ann_file) must name each image once')
    return dataset
