import shlex
from pathlib import Path

import mmseg.datasets  # noqa: F401  registers its data sets
import pytest
from mmengine.config import Config
from mmseg.registry import DATASETS

import ovseg
from ovseg.datasets.benchmarks import find_benchmark
from ovseg.sets import ROWS, dataset_config
from ovseg.vocabulary import read_class_list

ROOT = Path(ovseg.__file__).parents[1]
BASES = sorted(path for path in (ROOT / 'configs' / '_base_' / 'datasets').glob('*.py'))


@pytest.mark.parametrize('path', BASES, ids=lambda path: path.stem)
def test_every_data_set_config_is_a_known_benchmark(path):
    assert find_benchmark(Config.fromfile(path).test_dataloader.dataset).known


def test_label_files_of_another_kind_have_another_highest_value():
    for row in ROWS.values():
        limits = [limit for _, limit in row.lookalikes]
        assert len(limits) == len(set(limits))
        assert len(read_class_list(row.class_list)) - 1 not in limits


@pytest.mark.parametrize('name', ROWS)
def test_a_config_finds_its_row_and_its_steps_name_what_exists(name):
    benchmark = find_benchmark(dataset_config(name))
    row = ROWS[name]
    assert (benchmark.images, benchmark.lookalikes, len(benchmark.convert)) == (row.images, row.lookalikes, len(row.convert))
    for step in benchmark.steps:
        assert '{' not in step
        if step.startswith('python '):
            assert (ROOT / step.split()[1]).is_file(), step


def test_the_two_coco_stuffs_are_told_apart_by_their_folder():
    def images(folder):
        return find_benchmark(dict(type='COCOStuffDataset', data_prefix=dict(seg_map_path=folder))).images
    assert images('annotations/val2017') == 5000
    assert images('annotations/test2014') == 1000


def test_a_data_set_that_is_no_benchmark():
    benchmark = find_benchmark(dict(type='STAREDataset'))
    assert not benchmark.known and benchmark.images == 0 and 'STAREDataset' in benchmark.steps[0]
    assert DATASETS.get('STAREDataset')


def test_steps_name_the_folder_of_the_config():
    steps = find_benchmark(dict(type='COCOObjectDataset', data_root='/mnt/coco_object')).steps
    assert '/mnt/coco_stuff164k/annotations' in steps[0]
    assert steps[-1].split()[-2:] == ['/mnt/coco_stuff164k', '/mnt/coco_object']


@pytest.mark.parametrize('name', ['whu_aerial', 'cityscapes', 'mess_suim', 'context60', 'coco_object'])
def test_commands_are_those_of_a_shell_where_the_folder_has_spaces(name):
    folder = f'/mnt/my data/{Path(ROWS[name].folder).name}'
    words = shlex.split(find_benchmark({**dataset_config(name), 'data_root': folder}).convert[-1], comments=True)
    assert any(word.removeprefix('DETECTRON2_DATASETS=').startswith('/mnt/my data') for word in words)
    assert not any(word.startswith('data/') for word in words)
