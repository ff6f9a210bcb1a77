import logging
from pathlib import Path

import numpy as np
import pytest
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from mmseg.registry import EVALUATOR
from PIL import Image

from ovseg.evaluation import undefined_pixels

CLASSES = 3


def annotations(root):
    folder = root / 'annotations'
    return {path.relative_to(folder): np.array(Image.open(path)) for path in folder.rglob('*.png')}


def write(folder, maps):
    for name, labels in maps.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(labels).save(folder / name)


def loop_scores(found, ground_truth, offset):
    """Accuracy and mean IoU in percent, one pixel at a time; ``offset`` is the id of class 0 in the annotations."""
    hits, predicted, labelled = np.zeros((3, CLASSES))
    for name in ground_truth:
        for k_found, value in zip(found[name].flat, ground_truth[name].flat):
            k_truth = int(value) - offset
            if 0 <= k_truth < CLASSES:
                hits[k_truth] += k_found == k_truth
                predicted[k_found] += 1
                labelled[k_truth] += 1
    return dict(aAcc=100 * hits.sum() / labelled.sum(), mIoU=100 * (hits / (predicted + labelled - hits)).mean())


@pytest.fixture
def evaluate(tmp_path):
    def run(dataset, **kwargs):
        with DefaultScope.overwrite_default_scope('mmseg'):
            evaluator = EVALUATOR.build(dict(
                type='LabelMapEvaluator', metrics=[dict(type='IoUMetric', iou_metrics=['mIoU'])], dataset=dataset,
                folder=str(tmp_path / 'maps'), **kwargs))
            evaluator.process([object()])  # what a model says is not looked at
            return evaluator.evaluate(5)
    return run


@pytest.mark.parametrize('reduce_zero_label', [0, 1])
@pytest.mark.parametrize('ids', ['original', 'train'])
def test_scores_are_those_of_the_files(reduce_zero_label, ids, labelled, evaluate, tmp_path):
    dataset = labelled(CLASSES, reduce_zero_label)
    ground_truth = annotations(tmp_path)
    rng = np.random.default_rng(1)
    found = {name: np.where(rng.random(labels.shape) < 0.5, rng.integers(0, CLASSES, labels.shape),
                            np.clip(labels.astype(int) - reduce_zero_label, 0, CLASSES - 1))
             for name, labels in ground_truth.items()}
    offset = reduce_zero_label if ids == 'original' else 0
    write(tmp_path / 'maps', {name: (labels + offset).astype(np.uint8) for name, labels in found.items()})
    scores = evaluate(dataset, ids=ids)
    expected = loop_scores(found, ground_truth, reduce_zero_label)
    assert 20 < expected['mIoU'] < 80
    assert {name: scores[name] for name in expected} == pytest.approx(expected, abs=0.00501)


def test_workers_change_nothing(labelled, evaluate, tmp_path):
    dataset = labelled(CLASSES, 0)
    write(tmp_path / 'maps', {name: np.minimum(labels, 1) for name, labels in annotations(tmp_path).items()})
    assert evaluate(dataset) == evaluate(dataset, num_workers=2)


def test_the_truth_scores_full_marks(labelled, evaluate, tmp_path):
    dataset = labelled(CLASSES, 1)
    write(tmp_path / 'maps', {name: np.clip(labels, 1, CLASSES) for name, labels in annotations(tmp_path).items()})
    assert evaluate(dataset) == dict(aAcc=100, mIoU=100, mAcc=100)


@pytest.fixture
def warnings():
    records, handler = [], logging.Handler(logging.WARNING)
    handler.emit = lambda record: 'no class' in record.getMessage() and records.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield records
    logger.removeHandler(handler)


@pytest.mark.parametrize('main', [True, False])
@pytest.mark.parametrize('num_workers', [0, 1])
def test_pixels_without_a_class_are_counted_over_all_processes(num_workers, main, labelled, evaluate, tmp_path, warnings,
                                                               monkeypatch):
    dataset = labelled(CLASSES, 1)
    maps = {name: np.clip(labels, 1, CLASSES) for name, labels in annotations(tmp_path).items()}
    maps[Path('far/d.png')][:3, 2:7], maps[Path('near/c.png')][5] = 255, 255
    write(tmp_path / 'maps', maps)
    monkeypatch.setattr(undefined_pixels, 'all_gather_object', lambda own: [own, {'z.jpg': 2}])
    monkeypatch.setattr(undefined_pixels, 'is_main_process', lambda: main)
    evaluate(dataset, num_workers=num_workers)
    images = ', '.join([*(str(tmp_path / 'images' / name) for name in ('far/d.jpg', 'near/c.jpg')), 'z.jpg'])
    assert warnings == [f'{3 * 5 + 13 + 2} pixels of 3 images have no class, because their label maps give them none, as where '
                        f'scores are not finite (NaN or Inf) or probabilities under decoder.reject, and count as errors: '
                        f'{images}'] * main


def test_without_such_pixels_there_is_no_warning(labelled, evaluate, tmp_path, warnings):
    dataset = labelled(CLASSES, 0)
    write(tmp_path / 'maps', {name: np.minimum(labels, 1) for name, labels in annotations(tmp_path).items()})
    evaluate(dataset)
    assert warnings == []


def test_missing_label_maps_are_found_before_any_is_read(labelled, evaluate, tmp_path):
    dataset = labelled(CLASSES, 0)
    write(tmp_path / 'maps', {Path('a.png'): np.full((5, 7), 200, np.uint8)})
    with pytest.raises(FileNotFoundError, match='4 of 5 label maps are missing'):
        evaluate(dataset)


@pytest.mark.parametrize('num_workers', [0, 1])
def test_a_label_map_that_does_not_fit_is_named(num_workers, labelled, evaluate, tmp_path):
    dataset = labelled(CLASSES, 0)
    write(tmp_path / 'maps', {name: np.zeros_like(labels) for name, labels in annotations(tmp_path).items()})
    write(tmp_path / 'maps', {Path('far/d.png'): np.zeros((11, 13), np.uint8)})
    with pytest.raises(ValueError, match=r'far/d\.png has 11 x 13 pixels, but its image has 13 x 11'):
        evaluate(dataset, num_workers=num_workers)


def test_unknown_ids_are_refused(labelled, evaluate):
    with pytest.raises(ValueError, match="ids='official' is unknown; known: original, train"):
        evaluate(labelled(CLASSES, 0), ids='official')


def test_a_wrong_label_map_of_the_data_set_is_refused(labelled, evaluate, tmp_path):
    """Before any prediction is looked for."""
    dataset = labelled(CLASSES, 0)
    first = min((tmp_path / 'annotations').rglob('*.png'))
    Image.fromarray(np.full_like(np.array(Image.open(first)), CLASSES + 4)).save(first)
    with pytest.raises(ValueError, match=rf'1 of \d label files have values that are no class: 7 to 7, the first is {first}'):
        evaluate(dataset)
