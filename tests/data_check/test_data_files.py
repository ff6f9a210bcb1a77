import re
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS
from PIL import Image

from ovseg.data_check.data_files import check_data_files, other_images, stray_label_maps

TESTS = Path(__file__).parents[1]
DATASET_PARTS = TESTS.parent / 'configs' / '_base_' / 'datasets'
MINIATURES = runpy.run_path(str(TESTS / 'miniatures.py'))
LAYOUTS = MINIATURES['LAYOUTS']


@pytest.fixture(autouse=True)
def mmseg_scope():
    """Set the scope, as a config's ``default_scope`` does."""
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


@pytest.fixture
def read(tmp_path, monkeypatch):
    """The data set of a benchmark's config, and the folder that its miniature is drawn in."""
    def read_config(benchmark):
        monkeypatch.setenv('DATA_ROOT', str(tmp_path))
        MINIATURES['draw'](benchmark, tmp_path, [0, 1])
        return Config.fromfile(DATASET_PARTS / f'{benchmark}.py').test_dataloader.dataset, tmp_path
    return read_config


def complaint(cfg):
    with pytest.raises(FileNotFoundError) as error:
        check_data_files(cfg)
    return str(error.value)


@pytest.mark.parametrize('benchmark', LAYOUTS)
def test_complete_data_is_taken(benchmark, read):
    cfg, _ = read(benchmark)
    check_data_files(cfg)


@pytest.mark.parametrize('benchmark', LAYOUTS)
def test_nothing_there_is_answered_by_where_it_was_looked_for_and_what_to_do(benchmark, read):
    cfg, root = read(benchmark)
    shutil.rmtree(root)
    message = complaint(cfg)
    for part in (cfg.type, f'{root}/', 'does not exist', f'DATA_ROOT (now {root})', 'docs/datasets.md',
                 '--cfg-options test_dataloader.dataset.data_root='):
        assert part in message


@pytest.mark.parametrize('benchmark', LAYOUTS)
@pytest.mark.parametrize('kind', ['images', 'labels'])
def test_a_missing_folder_is_named(benchmark, kind, read):
    cfg, _ = read(benchmark)
    folder = Path(cfg.data_root, cfg.data_prefix['img_path' if kind == 'images' else 'seg_map_path'])
    shutil.rmtree(folder)
    assert f'{folder} does not exist' in complaint(cfg)


@pytest.mark.parametrize('benchmark', [name for name, layout in LAYOUTS.items() if layout.split])
def test_a_missing_or_empty_list_is_named(benchmark, read):
    cfg, root = read(benchmark)
    split = root / LAYOUTS[benchmark].split
    split.write_text('')
    assert f'there are no images in {split}' in complaint(cfg)
    split.unlink()
    assert f'{split} does not exist' in complaint(cfg)


@pytest.mark.parametrize('benchmark', [name for name, layout in LAYOUTS.items() if not layout.split])
def test_a_folder_without_images_is_named_with_their_ending(benchmark, read):
    cfg, root = read(benchmark)
    layout = LAYOUTS[benchmark]
    for name in layout.names:
        path = root / layout.images.format(name)
        path.rename(path.with_suffix('.webp'))
    message = complaint(cfg)
    assert f'there are no images in {Path(cfg.data_root, cfg.data_prefix.img_path)}' in message
    assert f'*{layout.images.split("{}")[1]}' in message


@pytest.mark.parametrize('benchmark', LAYOUTS)
def test_missing_label_maps_are_counted_and_the_first_is_named(benchmark, read):
    cfg, root = read(benchmark)
    layout = LAYOUTS[benchmark]
    gone = [root / layout.labels.format(layout.names[index]) for index in (1, 3)]
    for path in gone:
        path.unlink()
    assert re.search(f'2 of 10 images and label maps do not exist, the first is {re.escape(str(gone[0]))}[ ;]', complaint(cfg))


@pytest.mark.parametrize('benchmark', [name for name, layout in LAYOUTS.items() if layout.split])
def test_images_that_are_listed_and_missing_are_named(benchmark, read):
    cfg, root = read(benchmark)
    gone = root / LAYOUTS[benchmark].images.format(LAYOUTS[benchmark].names[2])
    gone.unlink()
    assert f'1 of 10 images and label maps do not exist, the first is {gone} ' in complaint(cfg)


def test_only_the_images_that_are_wanted_must_be_there(read):
    cfg, root = read('ade20k')
    (root / LAYOUTS['ade20k'].labels.format(LAYOUTS['ade20k'].names[4])).unlink()
    check_data_files({**cfg, 'indices': 4})


@pytest.mark.parametrize('indices', [0, [], [70], [0, -6], [1.5], 'abc', 1.5, True, {0: 1}])
def test_indices_that_choose_no_images_are_refused(indices, read):
    cfg, _ = read('ade20k')
    with pytest.raises(ValueError, match=r'^test_dataloader\.dataset\.indices=.* or a list of integers from -5 to 4$'):
        check_data_files({**cfg, 'indices': indices})


@pytest.mark.parametrize('indices', [None, 7, -7, [4, -5], (0,)])
def test_indices_that_choose_images_are_taken(indices, read):
    check_data_files({**read('ade20k')[0], 'indices': indices})


def test_a_data_root_of_its_own(read, monkeypatch):
    cfg, _ = read('ade20k')
    monkeypatch.delenv('DATA_ROOT')
    message = complaint({**cfg, 'data_root': '/no/where'})
    assert '/no/where/ does not exist' in message
    assert "DATA_ROOT (now not set, so 'data')" in message


@pytest.mark.parametrize('prefix', [dict(img_path='', seg_map_path=''), dict(img_path='', seg_map_path='masks')])
def test_a_data_root_that_holds_the_images_itself(tmp_path, prefix):
    cfg = dict(type='BaseSegDataset', data_root=str(tmp_path / 'nowhere'), data_prefix=prefix)
    assert f'{tmp_path}/nowhere/ does not exist' in complaint(cfg)


def own(root, **options):
    """Config of a data set of one's own, with three images and label maps."""
    for name in 'abc':
        for folder, suffix, shape in (('images', '.jpg', (5, 7, 3)), ('labels', '.png', (5, 7))):
            (root / folder).mkdir(exist_ok=True)
            Image.fromarray(np.zeros(shape, np.uint8)).save(root / folder / f'{name}{suffix}')
    return dict(type='BaseSegDataset', metainfo=dict(classes=['x', 'y']),
                **{'data_root': str(root), 'data_prefix': dict(img_path='images', seg_map_path='labels'), **options})


def test_a_missing_label_map_is_named_with_what_is_there_instead(tmp_path):
    cfg = own(tmp_path)
    (tmp_path / 'labels' / 'b.png').rename(tmp_path / 'labels' / 'b.PNG')
    assert f'the first is {tmp_path}/labels/b.png; in place of b.png there is b.PNG (' in complaint(cfg)


def test_folders_without_a_data_root_are_checked_too(tmp_path):
    cfg = own(tmp_path, data_root=None, data_prefix=dict(img_path=str(tmp_path / 'images'),
                                                         seg_map_path=str(tmp_path / 'labels')))
    check_data_files(cfg)
    (tmp_path / 'labels' / 'b.png').unlink()
    assert f'1 of 6 images and label maps do not exist, the first is {tmp_path}/labels/b.png ' in complaint(cfg)
    shutil.rmtree(tmp_path / 'labels')
    assert f'{tmp_path}/labels does not exist' in complaint(cfg)


def built(root, **options):
    return DATASETS.build({**own(root, **options), 'lazy_init': True})


def test_label_maps_without_an_image_are_found_in_every_case_and_folder(tmp_path):
    for name in ('sub/d.png', 'e.PNG', 'f.txt'):
        (tmp_path / 'labels' / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / 'labels' / name).touch()
    dataset = built(tmp_path)
    strays = stray_label_maps(dataset, dataset.load_data_list())
    assert strays == [str(tmp_path / 'labels' / name) for name in ('e.PNG', 'sub/d.png')]
    listed = built(tmp_path, ann_file='list.txt')
    assert stray_label_maps(listed, []) == [], 'a list may leave files out'


def test_images_with_another_ending_are_found(tmp_path):
    for name in ('d.JPG', 'sub/e.png', 'f.tif', 'notes.txt'):
        (tmp_path / 'images' / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / 'images' / name).touch()
    assert other_images(built(tmp_path)) == [str(tmp_path / 'images' / name) for name in ('d.JPG', 'f.tif', 'sub/e.png')]
    exact = built(tmp_path, img_suffix='_leftImg8bit.png')
    assert other_images(exact) == []


def test_label_maps_beside_the_images_are_no_images_with_another_ending(tmp_path):
    own(tmp_path)
    both = dict(img_path='images', seg_map_path='images')
    Image.new('L', (7, 5)).save(tmp_path / 'images' / 'a.png')
    assert other_images(built(tmp_path, data_prefix=both)) == []
