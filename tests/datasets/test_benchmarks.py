from pathlib import Path

import mmseg.datasets  # noqa: F401  registers its data sets
import pytest
from mmengine.config import Config
from mmseg.registry import DATASETS

import ovseg
from ovseg.datasets.benchmarks import BENCHMARKS, find_benchmark

ROOT = Path(ovseg.__file__).parents[1]
BASES = sorted(path for path in (ROOT / 'configs' / '_base_' / 'datasets').glob('*.py'))


@pytest.mark.parametrize('name', BENCHMARKS)
def test_benchmarks_are_data_sets(name):
    assert DATASETS.get(name.split('/')[0]) is not None


@pytest.mark.parametrize('path', BASES, ids=lambda path: path.stem)
def test_every_data_set_config_is_a_known_benchmark(path):
    """The number of images is the one that the config's first line says, where it says one."""
    head = path.read_text().splitlines()[0]
    dataset = Config.fromfile(path).test_dataloader.dataset
    images = find_benchmark(dataset).images
    assert images > 0
    if 'images' in head:
        assert f'{images} images' in head


def test_label_files_of_another_kind_have_another_highest_value():
    for name, benchmark in BENCHMARKS.items():
        limits = [limit for _, limit in benchmark.lookalikes]
        assert len(limits) == len(set(limits))
        classes = len(DATASETS.get(name.split('/')[0]).METAINFO['classes'])
        assert classes - 1 not in limits


@pytest.mark.parametrize('name', BENCHMARKS)
def test_converters_that_are_named_exist(name):
    type_, _, folder = name.partition('/')
    benchmark = find_benchmark(dict(type=type_, data_root='data/set', data_prefix=dict(seg_map_path=f'annotations/{folder}')))
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
    benchmark = find_benchmark(dict(type='PotsdamDataset'))
    assert benchmark.images == 0 and 'PotsdamDataset' in benchmark.steps[0]


def test_steps_name_the_folder_of_the_config():
    steps = find_benchmark(dict(type='COCOObjectDataset', data_root='/mnt/coco_object')).steps
    assert '/mnt/coco_stuff164k/annotations' in steps[0]
    assert steps[-1].split()[-2:] == ['/mnt/coco_stuff164k', '/mnt/coco_object']
