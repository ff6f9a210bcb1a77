import pytest
from mmengine.dataset import BaseDataset

from ovseg.ablation.axes import Axes
from ovseg.ablation.rows import read_areas, row_file
from ovseg.ablation.runner import claim_folder, plan, run, unfinished_groups
from ovseg.ablation.settings import all_settings

AXES = Axes(['apply_ctd'], {'model.model_type': ['KK'], 'model.logit_scale': [40, 50]})
OPTIONS = {'model.prompt_templates': 'plain', 'model.slide_crop': 64, 'model.slide_stride': 64,
           'test_dataloader.num_workers': 0, 'test_dataloader.dataset.indices': 2}


@pytest.fixture
def settings(demo):
    return all_settings([demo], AXES, OPTIONS)


def names(groups):
    return [[setting.name for setting in group] for group in groups]


def test_settings_that_share_the_encoder_run_together_and_equal_ones_once(settings, tmp_path):
    assert names(unfinished_groups(settings, tmp_path)) == [['baseline', '+ apply_ctd', 'logit_scale=50'], ['model_type=KK']]


def test_finished_settings_do_not_run(settings, finish, tmp_path):
    finish(settings[1:3])
    assert names(unfinished_groups(settings, tmp_path)) == [['baseline', 'logit_scale=50']]


def test_passes_do_not_mix_up_what_lies_at_one_address(settings, tmp_path, monkeypatch):
    """mmengine's ``get_subset`` copies by a memo that outlives its objects: it takes a new one for an old one."""
    passes = plan(settings, tmp_path)
    dataset = passes[0].dataset
    monkeypatch.setattr(BaseDataset._copy_without_annotation, '__defaults__', ({id(dataset.pipeline): dataset},))
    run(passes, tmp_path)
    for setting in settings:
        areas = read_areas(row_file(tmp_path, setting.digest))
        assert len(areas.images) == 2 and areas.predicted.sum() == areas.truth.sum() > 0


def test_a_folder_belongs_to_its_baselines(settings, demo, tmp_path):
    claim_folder(tmp_path / 'new', settings)
    claim_folder(tmp_path / 'new', settings[:2])
    other = all_settings([demo], AXES, {**OPTIONS, 'model.prob_thd': 0.1})
    with pytest.raises(ValueError, match=r'new holds another ablation[\s\S]*model\.prob_thd=0\.1\nchoose another --work-dir'):
        claim_folder(tmp_path / 'new', other)
