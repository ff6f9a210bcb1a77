"""The table of data sets: its rows, and the configs that are made of them."""
import re
from pathlib import Path

import pytest
from mmengine.config import Config

import ovseg
from ovseg.sets import FAMILIES, ROWS, TABLE, dataset_config, find_row, protocol, row_of
from ovseg.vocabulary import bundled_class_lists, read_class_list

BASES = Path(ovseg.__file__).parents[1] / 'configs' / '_base_' / 'datasets'


def test_every_row_has_one_name_and_its_base_config():
    assert len(ROWS) == sum(map(len, FAMILIES.values()))
    assert {path.stem for path in BASES.glob('*.py') if not path.stem.endswith('_448')} == {*ROWS, 'demo_scenes'}


@pytest.mark.parametrize('name', ROWS)
def test_a_base_config_repeats_nothing_of_its_row(name):
    row, lines = ROWS[name], (BASES / f'{name}.py').read_text().splitlines()
    assert len(lines) <= 4
    cfg = Config.fromfile(BASES / f'{name}.py')
    dataset = {key: value for key, value in cfg.test_dataloader.dataset.items() if key != 'pipeline'}
    assert dataset == dataset_config(name) == row.dataset()
    assert row_of(cfg.test_dataloader.dataset) == row
    for fact in (row.img_path, row.seg_map_path, row.page, row.source):
        assert fact not in '\n'.join(lines[1:])
    assert not re.search(r'\d images|\d classes', lines[0])


@pytest.mark.parametrize('name', ROWS)
def test_class_lists_of_a_row_exist_and_fit_each_other(name):
    row = ROWS[name]
    words = row.protocol['vocabulary']['names']
    assert {row.class_list, words} <= set(bundled_class_lists())
    assert len(read_class_list(words)) == len(read_class_list(row.class_list))
    assert row.palette == () or len(row.palette) == len(read_class_list(row.class_list))


@pytest.mark.parametrize('name', ROWS)
def test_a_row_says_where_to_get_it(name):
    row = ROWS[name]
    assert row.page.startswith('http') and row.source and row.title and ' ' not in row.name
    assert row.images >= 0
    if row.conversion:
        assert any('ovseg convert sets ' + name in step for step in row.convert)


def test_data_lies_where_the_variable_says(monkeypatch, tmp_path):
    monkeypatch.delenv('DATA_ROOT', raising=False)
    assert dataset_config('ade20k')['data_root'] == 'data/ade/ADEChallengeData2016'
    monkeypatch.setenv('DATA_ROOT', str(tmp_path))
    row = find_row('voc21')
    assert row.root == tmp_path / 'VOCdevkit' / 'VOC2012' and len(row.missing) == 3
    (row.root / 'JPEGImages').mkdir(parents=True)
    assert row.missing == (row.root / 'SegmentationClass', row.root / 'ImageSets/Segmentation/val.txt')


def test_an_unknown_row_names_near_ones():
    with pytest.raises(ValueError, match=r"name='ade20' is no data set of ovseg; near: ade20k"):
        dataset_config('ade20')
    with pytest.raises(ValueError, match='ovseg list data-sets names all of them'):
        protocol('xyz')


def test_a_config_of_another_data_set_has_no_row():
    assert row_of(dict(type='STAREDataset')) is None and row_of(dict(type=TABLE, name='nothing')) is None
