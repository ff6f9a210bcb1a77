import mmengine.dataset.sampler
import numpy as np
import pytest
from mmengine.registry import DefaultScope
from mmseg.registry import DATA_SAMPLERS, DATASETS
from torch.utils.data import DataLoader

from ovseg.evaluation.label_maps import write_label_map


@pytest.fixture
def dataset(labelled):
    with DefaultScope.overwrite_default_scope('mmseg'):
        return DATASETS.build(labelled(3, 0))


@pytest.fixture
def sampler(dataset, tmp_path):
    def build(*finished):
        for name in finished:
            write_label_map(tmp_path / 'out' / name, np.zeros((2, 2), np.uint8))
        return DATA_SAMPLERS.build(dict(type='UnfinishedSampler', dataset=dataset, out_dir=str(tmp_path / 'out'), seed=3))
    return build


def names(dataset, indices):
    return [dataset.get_data_info(index)['img_path'].split('/images/')[1] for index in indices]


def test_at_first_all_images_are_unfinished(sampler):
    assert list(sampler()) == [0, 1, 2, 3, 4]


def test_finished_images_are_left_out(sampler, dataset):
    sampler = sampler('a.png', 'far/c.png', 'd.png')
    assert len(sampler) == 3
    assert names(dataset, sampler) == ['b.jpg', 'far/d.jpg', 'near/c.jpg']


def test_nothing_may_be_left(sampler, dataset):
    sampler = sampler('a.png', 'b.png', 'near/c.png', 'far/c.png', 'far/d.png')
    assert list(sampler) == [] and list(DataLoader(dataset, sampler=sampler)) == []


@pytest.mark.parametrize('finished', [['a.png', 'far/c.png'], ['a.png', 'b.png', 'far/d.png', 'near/c.png'], []])
@pytest.mark.parametrize('processes', [2, 3])
def test_processes_share_the_images_without_repeating_any(finished, processes, sampler, dataset, monkeypatch):
    shares = []
    for rank in range(processes):
        monkeypatch.setattr(mmengine.dataset.sampler, 'get_dist_info', lambda rank=rank: (rank, processes))
        shares.append(sampler(*finished))
        assert len(list(shares[-1])) == len(shares[-1])
    images = [name for share in shares for name in names(dataset, share)]
    assert sorted(images) == sorted({'a.jpg', 'b.jpg', 'near/c.jpg', 'far/c.jpg', 'far/d.jpg'}
                                    - {name.replace('png', 'jpg') for name in finished})
