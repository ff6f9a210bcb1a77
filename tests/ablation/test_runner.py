import shutil

import numpy as np
import pytest
from mmengine.dataset import BaseDataset
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS
from PIL import Image

from ovseg.ablation.axes import Axes
from ovseg.ablation.rows import RowWriter, read_areas, read_changed, row_file
from ovseg.ablation.runner import claimed_folder, image_stamps, plan, run, unfinished_groups
from ovseg.ablation.settings import all_settings, single_setting
from ovseg.datasets.demo_scenes_dataset import DEMO_SCENES
from ovseg.models.towers.tiny_clip import WEIGHTS_FILE

AXES = Axes(['apply_ctd'], {'model.model_type': ['KK'], 'model.logit_scale': [40, 50]})
OPTIONS = {'model.prompt_templates': 'plain', 'model.slide_crop': 64, 'model.slide_stride': 64,
           'test_dataloader.num_workers': 0, 'test_dataloader.dataset.indices': 2}


TOGETHER = ['baseline', '+ apply_ctd', 'model_type=KK', 'logit_scale=50']


@pytest.fixture
def settings(demo):
    return all_settings([demo], AXES, OPTIONS)


def names(groups):
    return [[setting.name for setting in group] for group in groups]


def test_settings_of_one_clip_run_together_and_equal_ones_once(settings, demo, tmp_path):
    copy = tmp_path / 'clip.safetensors'
    shutil.copy(WEIGHTS_FILE, copy)
    settings += all_settings([demo], Axes(grid={'model.pretrained': [str(copy)]}), OPTIONS)
    assert names(unfinished_groups(settings, tmp_path)) == [TOGETHER, [f'pretrained={copy}']]


@pytest.fixture
def stamps(settings):
    cfg = settings[0].cfg
    with DefaultScope.overwrite_default_scope('mmseg'):
        return image_stamps(DATASETS.build(cfg.test_dataloader.dataset))


def test_finished_settings_do_not_run(settings, finish, stamps, tmp_path):
    finish(settings[1:3], stamps=stamps)
    assert names(unfinished_groups(settings, tmp_path)) == [['baseline', 'logit_scale=50']]


@pytest.mark.parametrize('kind', ['image', 'mask'])
def test_rows_of_files_that_have_changed_run_again(kind, settings, finish, stamps, tmp_path):
    first, *_ = stamps
    finish(settings, stamps={**stamps, first: {**stamps[first], kind: [1, 1]}})
    assert names(unfinished_groups(settings, tmp_path)) == [TOGETHER]
    with claimed_folder(tmp_path, settings):
        assert not list(tmp_path.rglob('rows/*[0-9a-f].jsonl'))
    assert all(list(RowWriter(tmp_path, setting.digest, stamps).lines) == list(stamps)[1:] for setting in settings)


def test_passes_do_not_mix_up_what_lies_at_one_address(settings, tmp_path, monkeypatch):
    """mmengine's ``get_subset`` copies by a memo that outlives its objects: it takes a new one for an old one."""
    passes = plan(settings, tmp_path)
    dataset = passes[0].dataset
    monkeypatch.setattr(BaseDataset._copy_without_annotation, '__defaults__', ({id(dataset.pipeline): dataset},))
    run(passes, tmp_path)
    for setting in settings:
        areas = read_areas(row_file(tmp_path, setting.digest))
        assert len(areas.images) == 2 and areas.predicted.sum() == areas.ground_truth.sum() > 0


def test_changed_area_is_compared_with_the_baseline_also_where_that_is_finished(settings, tmp_path):
    settings = settings[:3]
    run(plan(settings, tmp_path), tmp_path)
    paths = [row_file(tmp_path, setting.digest) for setting in settings]
    changed = [read_changed(path, settings[0].digest) for path in paths]
    predicted = [read_areas(path).predicted for path in paths]
    moved = [abs(area - predicted[0]).sum() / 2 / predicted[0].sum() for area in predicted]  # at least so much has changed
    assert changed[0] == 0 and all(least <= share <= 1 for least, share in zip(moved, changed)) and max(moved) > 0
    assert np.isnan(read_changed(paths[1], settings[1].digest))
    paths[2].unlink()
    again, = plan(settings, tmp_path)
    assert names([again.settings]) == [['model_type=KK']]
    run([again], tmp_path)
    assert read_changed(paths[2], settings[0].digest) == changed[2]


def test_a_folder_belongs_to_its_baselines(settings, demo, tmp_path):
    for some in (settings, settings[:2]):
        with claimed_folder(tmp_path / 'new', some), pytest.raises(BlockingIOError), claimed_folder(tmp_path / 'new', some):
            pass
    other = all_settings([demo], AXES, {**OPTIONS, 'model.prob_thd': 0.1})
    with pytest.raises(ValueError, match=r'new holds another ablation[\s\S]*model\.prob_thd=0\.1\nchoose another --work-dir'), \
            claimed_folder(tmp_path / 'new', other):
        pass


def test_a_wrong_label_map_is_refused_before_any_pass(demo, tmp_path):
    scenes = shutil.copytree(DEMO_SCENES, tmp_path / 'scenes')
    Image.new('L', (7, 5)).save(scenes / 'annotations' / '001.png')
    settings = all_settings([demo], AXES, {**OPTIONS, 'test_dataloader.dataset.data_root': str(scenes)})
    with pytest.raises(ValueError, match=r'1 of 60 label files have another size than their image, .*/001\.png'):
        plan(settings, tmp_path / 'ablation')


@pytest.mark.parametrize('options', [{'indices': [3, 0, 3, 5, 3]}, {'ann_file': 'twice.txt'}])
def test_an_image_that_a_data_set_holds_twice_is_refused_by_name(options, demo, tmp_path):
    """Areas are kept once per image: the rows would miss one of the two."""
    scenes = shutil.copytree(DEMO_SCENES, tmp_path / 'scenes')
    (scenes / 'twice.txt').write_text('003\n000\n003\n005\n003\n')
    dataset = {'data_root': str(scenes), 'ann_file': '', 'indices': None, **options}
    one = single_setting(demo, {f'test_dataloader.dataset.{key}': value for key, value in dataset.items()})
    with pytest.raises(ValueError, match=r'images/003\.jpg is in the data set 3 times.*indices, ann_file') as error:
        plan([one], tmp_path / 'ablation')
    assert '\n' not in str(error.value)
