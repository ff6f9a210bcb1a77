import re
from pathlib import Path

import numpy as np
import pytest

from ovseg.reproduce.measure import Measurement, measure, prepare, sampled_indices, verdict
from ovseg.reproduce.presets import Preset, find_presets

QUICK = {'test_dataloader.num_workers': 0, 'model.vocabulary.templates': 'plain'}


def preset(score):
    return Preset('naclip/x', Path('x.py'), score, 'published')


def measured(score, images=1449, error=0., per_class=5):
    return Measurement(images, 1449, score, error, '', None, per_class)


def test_a_sample_has_one_image_of_each_stretch():
    sizes = [(total, count) for total in range(1, 150) for count in range(1, total + 1)]
    for total, count in [*sizes, (1449, 200), (1449, 500), (500, 200), (5000, 499)]:
        indices = sampled_indices(total, count)
        assert len(indices) == len(set(indices)) == count, (total, count)
        assert all(place * total // count <= index < (place + 1) * total // count for place, index in enumerate(indices))


def test_a_sample_is_always_the_same_and_not_evenly_spaced():
    assert sampled_indices(1449, 100) == sampled_indices(1449, 100)
    assert np.unique(np.diff(sampled_indices(1449, 100))).size > 5  # not every fourteenth one


def test_tolerance_of_a_whole_data_set():
    assert verdict(preset(79.7), measured(80.2)) == verdict(preset(79.7), measured(79.2)) == 'within tolerance'
    assert verdict(preset(79.7), measured(80.21)) == verdict(preset(79.7), measured(79.19)) == 'outside'
    assert verdict(preset(None), measured(80.2)) == 'no published score'


def test_tolerance_of_a_sample_has_two_standard_errors_more():
    assert verdict(preset(79.7), measured(86.1, 100, 3.)) == 'within tolerance'
    assert verdict(preset(79.7), measured(86.3, 100, 3.)) == 'outside'


def test_a_sample_with_few_images_per_class_has_no_verdict():
    assert verdict(preset(79.7), measured(79.7, 100, 3., 4.5)) == 'sample too small'
    assert verdict(preset(79.7), measured(79.7, 1449, 0., 4.5)) == 'within tolerance'  # all images


@pytest.mark.slow
def test_a_sample_is_measured_with_its_error_and_kept(tmp_path):
    demo, = find_presets(['demo/vanilla_tiny-clip_demo'])
    task = prepare(demo, QUICK, 3, tmp_path)
    assert task.setting.cfg.model.vocabulary.templates == 'plain', 'a sample keeps the options'
    first = measure(task)
    assert (first.images, first.total) == (3, 60) and first.seconds > 0
    assert 0 < first.score < 100 and 0 < first.error < 50
    assert re.fullmatch(r'demo_scenes \(16 classes, 16 names, sha256 [0-9a-f]{12}\), templates plain \(1\)', first.class_list)
    again = measure(prepare(demo, QUICK, 3, tmp_path))
    assert again.seconds is None and (again.score, again.error) == (first.score, first.error)
    assert prepare(demo, QUICK, 60, tmp_path).folder != task.folder  # another sample, other rows


def test_absent_classes_count_as_the_metric_says(tmp_path):
    demo, = find_presets(['demo/vanilla_tiny-clip_demo'])
    left_out, zero = (measure(prepare(demo, {**QUICK, **options}, 2, tmp_path))
                      for options in ({}, {'test_evaluator.nan_to_num': 0}))
    assert zero.score < 0.9 * left_out.score  # two scenes do not have all classes
    assert zero.error != left_out.error


def test_data_that_is_missing_is_found_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.setenv('DATA_ROOT', str(tmp_path / 'nowhere'))
    naclip, = find_presets(['naclip_vit-b16_voc20'])
    with pytest.raises(FileNotFoundError, match=r'PascalVOC20Dataset.*nowhere.*DATA_ROOT'):
        prepare(naclip, {}, None, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_preset_is_planned_once_unless_another_process_has_changed_its_rows_meanwhile(tmp_path, monkeypatch):
    checked = []
    monkeypatch.setattr('ovseg.ablation.runner.check_labels', lambda *arguments: checked.append(arguments))
    demo, = find_presets(['demo/vanilla_tiny-clip_demo'])
    task, late = (prepare(demo, QUICK, 2, tmp_path) for _ in range(2))
    assert all(one.model is None for one in task.passes), 'the models of all presets at once might not fit into memory'
    assert measure(task).seconds > 0 and len(checked) == 2
    assert measure(late).seconds is None and len(checked) == 2
    next(task.folder.rglob(f'{task.setting.digest}*')).unlink()
    assert measure(prepare(demo, QUICK, 2, tmp_path)).seconds > 0 and len(checked) == 3
