"""Every data set of MESS in miniature, in the layout that MESS' scripts leave: its scores are those of a loop over pixels."""
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData
from mmseg.registry import DATASETS, METRICS, MODELS

import ovseg  # noqa: F401  registers data sets
from ovseg.sets.mess import MESS
from ovseg.vocabulary import read_class_list

TESTS = Path(__file__).parents[1]
BASE = TESTS.parent / 'configs' / '_base_'
MINIATURES = runpy.run_path(str(TESTS / 'miniatures.py'))
LAYOUTS = MINIATURES['MESS_LAYOUTS']
# Those that differ from others in endings, folders or kind of image; all of them in the tests marked slow.
SOME = ('mess_dark_zurich', 'mess_paxray_bones', 'mess_corrosion_cs', 'mess_pst900', 'mess_zerowaste', 'mess_cwfid')


@pytest.fixture(scope='module')
def segmentor():
    cfg = Config.fromfile(BASE / 'models' / 'tiny-clip.py')
    with DefaultScope.overwrite_default_scope('mmseg'):
        return MODELS.build(dict(cfg.model, vocabulary=dict(names='voc20', templates='plain'), windows=dict(crop=0)))


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """Draws a miniature, and builds its data set with small images and its metric."""
    monkeypatch.setenv('DATA_ROOT', str(tmp_path))

    def build(name, classes, scale=(128, 48)):
        maps = MINIATURES['draw'](name, tmp_path, classes)
        cfg = Config.fromfile(BASE / 'datasets' / f'{name}.py')
        assert cfg.test_dataloader.dataset.pipeline[1].scale == (2048, 336)
        cfg.test_dataloader.dataset.pipeline[1].scale = scale
        with DefaultScope.overwrite_default_scope('mmseg'):
            return maps, DATASETS.build(cfg.test_dataloader.dataset), METRICS.build(cfg.test_evaluator)
    return build


def loop_scores(maps, predictions, classes):
    """IoU of each class, NaN for one that is nowhere, counted pixel by pixel from the values that stand in the files."""
    hits, union = np.zeros(classes), np.zeros(classes)
    for name, prediction in predictions.items():
        for label, predicted in zip(maps[name].ravel().tolist(), prediction.ravel().tolist()):
            if label != 255:
                for index in {label, predicted}:
                    union[index] += 1
                hits[label] += label == predicted
    return np.divide(hits, union, out=np.full(classes, np.nan), where=union > 0)


@pytest.mark.parametrize('name', [name if name in SOME else pytest.param(name, marks=pytest.mark.slow) for name in LAYOUTS])
def test_the_score_is_that_of_a_loop_over_pixels(name, segmentor, drawn):
    words = read_class_list(name)
    segmentor.set_classes(name)
    maps, dataset, metric = drawn(name, range(len(words)))
    metric.dataset_meta = dataset.metainfo
    assert dataset.metainfo['classes'] == [first for first, in words]
    stems = sorted(maps)
    assert [dataset.get_data_info(index)['img_path'] for index in range(len(dataset))] == [
        str(Path(dataset.data_root).parent / LAYOUTS[name].images.format(stem)) for stem in stems]
    predictions, rng = {}, np.random.default_rng(0)
    for index, stem in enumerate(stems):  # the model's labels of one image, random ones of the others for time's sake
        batch = pseudo_collate([dataset[index]])
        sample, = segmentor.test_step(batch) if index == 3 else batch['data_samples']
        if index != 3:
            sample.pred_sem_seg = PixelData(data=torch.from_numpy(rng.integers(0, len(words), (1, *maps[stem].shape))))
        predictions[stem] = sample.pred_sem_seg.data[0].numpy()
        metric.process(batch, [sample.to_dict()])
    expected = loop_scores(maps, predictions, len(words))
    assert metric.compute_metrics(metric.results)['mIoU'] == pytest.approx(100 * np.nanmean(expected), abs=0.0051)
    assert (expected > 0).any() and np.isfinite(expected).mean() > 0.8


@pytest.mark.parametrize('name', LAYOUTS)
def test_the_ground_truth_is_that_of_the_files_and_images_have_a_short_side_of_336(name, drawn):
    maps, dataset, _ = drawn(name, range(len(read_class_list(name))), scale=(2048, 336))
    item, stem = dataset[2], sorted(maps)[2]
    assert len(dataset) == 5 and min(item['inputs'].shape[1:]) == 336 and len(item['inputs']) == 3
    np.testing.assert_array_equal(item['data_samples'].gt_sem_seg.data[0], maps[stem])


def test_every_row_has_a_miniature():
    assert [row.name for row in MESS] == list(LAYOUTS)
    assert all(LAYOUTS[row.name].images.startswith(f'{row.folder}/{row.img_path}/') for row in MESS)


def test_images_of_cwfid_without_a_label_file_do_not_belong_to_it(drawn, tmp_path):
    _, dataset, _ = drawn('mess_cwfid', [0, 1, 2])
    assert len(list((tmp_path / 'cwfid' / 'images').iterdir())) == 10 and len(dataset) == 5


def test_an_image_without_a_label_file_belongs_to_the_others(drawn, tmp_path):
    _, dataset, _ = drawn('mess_suim', [0, 1])
    (tmp_path / 'SUIM' / 'annotations_detectron2' / 'test' / '0023.png').unlink()
    assert len(dataset.load_data_list()) == 5


def test_sets_of_mess_are_22_in_five_domains_and_paxray_has_four_tasks():
    """Numbers of images: ``check_datasets`` of mess/prepare_all_datasets.py; tasks of PAXRay-4 share theirs."""
    titles = {row.title.split(' (')[0]: row for row in MESS}
    assert (len(MESS), len(titles), len({row.domain for row in MESS})) == (25, 22, 5)
    assert sum(row.images for row in titles.values()) == 25069
    paxray = [row for row in MESS if 'paxray' in row.name]
    assert len(paxray) == 4 and len({(row.folder, row.img_path, row.images) for row in paxray}) == 1
    assert all(row.protocol == dict(vocabulary=dict(names=row.name), decoder={}) for row in MESS)


@pytest.mark.parametrize('row', MESS, ids=lambda row: row.name)
def test_the_last_step_is_the_script_of_mess(row):
    scripts = dict(mess_foodseg103='foodseg', **{f'mess_paxray_{task}': 'paxray' for task in (
        'lungs', 'bones', 'mediastinum', 'diaphragm')})
    assert row.convert[-1] == ('DETECTRON2_DATASETS={data} python -m mess.prepare_datasets.prepare_'
                               f"{scripts.get(row.name, row.name.replace('mess_', '', 1))}  # pip install mess-benchmark")
