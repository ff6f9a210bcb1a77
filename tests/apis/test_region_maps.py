import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS
from mmseg.structures import SegDataSample
from PIL import Image

from ovseg.apis.region_maps import store_region_maps
from ovseg.claims import claim
from ovseg.models.regions import NpzRegions, Regions
from ovseg.models.regions.npz_regions import read_regions, write_regions

CPU = torch.device('cpu')


@dataclass(frozen=True)
class Brightness(Regions):
    """Regions of the red channel's levels."""

    step: int = 50
    calls = []

    def __call__(self, network, rgb, sample):
        self.calls.append(sample.img_path)
        return (rgb[0] * 255).long() // self.step


@pytest.fixture
def dataset(tmp_path):
    """Two images of different sizes, and a function that builds their data set."""
    (tmp_path / 'images').mkdir()
    for name, size in dict(a=(7, 11), b=(13, 5)).items():
        pixels = np.random.default_rng(len(name)).integers(0, 256, (*size, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / 'images' / f'{name}.png')
    Brightness.calls.clear()

    def build():
        with DefaultScope.overwrite_default_scope('mmseg'):
            return DATASETS.build(dict(type='BaseSegDataset', data_root=str(tmp_path), data_prefix=dict(img_path='images'),
                                       img_suffix='.png', metainfo=dict(classes=['a'], palette=[[0, 0, 0]]), pipeline=[]))
    return build


def test_maps_of_all_images_are_stored(dataset, tmp_path):
    out = tmp_path / 'out'
    assert store_region_maps(dataset(), Brightness(), out, CPU) == 2
    for name in 'ab':
        path = tmp_path / 'images' / f'{name}.png'
        red = np.asarray(Image.open(path))[..., 0]
        sample = SegDataSample(metainfo=dict(img_path=str(path), ori_shape=red.shape))
        assert np.array_equal(NpzRegions(str(out))(None, None, sample).numpy(), red // 50)


def test_a_folder_of_the_home_folder(dataset, tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    monkeypatch.chdir(tmp_path)
    assert store_region_maps(dataset(), Brightness(), Path('~/out'), CPU) == 2
    assert {path.name for path in (tmp_path / 'home' / 'out').iterdir()} >= {'a.npz', 'b.npz', 'regions.json'}
    assert not (tmp_path / '~').exists()


def test_only_missing_maps_are_computed(dataset, tmp_path):
    out = tmp_path / 'out'
    store_region_maps(dataset(), Brightness(), out, CPU)
    (out / 'b.npz').unlink()
    Brightness.calls.clear()
    assert store_region_maps(dataset(), Brightness(), out, CPU) == 1
    assert [path.rsplit('/', 1)[1] for path in Brightness.calls] == ['b.png']
    assert store_region_maps(dataset(), Brightness(), out, CPU) == 0


def test_the_map_of_an_image_that_has_changed_is_made_again(dataset, tmp_path):
    out = tmp_path / 'out'
    store_region_maps(dataset(), Brightness(), out, CPU)
    Image.new('RGB', (17, 19), (255, 0, 0)).save(tmp_path / 'images' / 'b.png')
    kept = (out / 'a.npz').stat().st_mtime_ns
    assert store_region_maps(dataset(), Brightness(), out, CPU) == 1
    assert np.array_equal(read_regions(out / 'b.npz'), np.ones((19, 17)))
    assert (out / 'a.npz').stat().st_mtime_ns == kept
    assert store_region_maps(dataset(), Brightness(), out, CPU) == 0


def test_the_record_keeps_the_images_of_another_data_set_in_the_folder(dataset, tmp_path):
    out, images = tmp_path / 'out', tmp_path / 'images'
    store_region_maps(dataset(), Brightness(), out, CPU)
    (images / 'a.png').rename(tmp_path / 'a.png')
    assert store_region_maps(dataset(), Brightness(), out, CPU) == 0
    Image.new('RGB', (17, 19), (255, 0, 0)).save(images / 'a.png')
    assert store_region_maps(dataset(), Brightness(), out, CPU) == 1


def test_maps_of_another_program_are_kept(dataset, tmp_path):
    out = tmp_path / 'out'
    out.mkdir()
    write_regions(out / 'a.npz', np.eye(7, 11))
    assert store_region_maps(dataset(), Brightness(), out, CPU) == 1
    assert np.array_equal(read_regions(out / 'a.npz'), np.eye(7, 11))


def test_maps_without_stamps_are_kept_and_get_them(dataset, tmp_path):
    out = tmp_path / 'out'
    store_region_maps(dataset(), Brightness(), out, CPU)
    record = json.loads((out / 'regions.json').read_text())
    assert set(record.pop('image_stamps')) == {'a.npz', 'b.npz'}
    (out / 'regions.json').write_text(json.dumps(record))
    assert store_region_maps(dataset(), Brightness(), out, CPU) == 0
    Image.new('RGB', (17, 19), (255, 0, 0)).save(tmp_path / 'images' / 'b.png')
    assert store_region_maps(dataset(), Brightness(), out, CPU) == 1


@pytest.mark.parametrize('stamps', [5, None, []])
def test_a_record_with_damaged_stamps_is_refused(stamps, dataset, tmp_path):
    record = tmp_path / 'out' / 'regions.json'
    store_region_maps(dataset(), Brightness(), tmp_path / 'out', CPU)
    record.write_text(json.dumps({**json.loads(record.read_text()), 'image_stamps': stamps}))
    with pytest.raises(ValueError, match=r'regions\.json is damaged: remove it'):
        store_region_maps(dataset(), Brightness(), tmp_path / 'out', CPU)


@pytest.mark.parametrize('record', [b'', b'[1]', b'5', b'[]', b'{"type": "Bright', b'\xff', b'[' * 10 ** 5])
def test_a_damaged_record_is_refused_and_the_maps_are_kept_without_it(record, dataset, tmp_path):
    store_region_maps(dataset(), Brightness(), tmp_path / 'out', CPU)
    (tmp_path / 'out' / 'regions.json').write_bytes(record)
    with pytest.raises(ValueError, match=r'regions\.json is damaged: remove it'):
        store_region_maps(dataset(), Brightness(), tmp_path / 'out', CPU)
    (tmp_path / 'out' / 'regions.json').unlink()
    assert store_region_maps(dataset(), Brightness(), tmp_path / 'out', CPU) == 0


def test_changed_maps_stay_until_they_are_made_again(dataset, tmp_path, monkeypatch):
    out, images = tmp_path / 'out', tmp_path / 'images'
    store_region_maps(dataset(), Brightness(), out, CPU)
    old = (out / 'b.npz').read_bytes()
    Image.new('RGB', (17, 19), (255, 0, 0)).save(images / 'a.png')
    (images / 'b.png').write_bytes(b'no image')
    with monkeypatch.context() as patch:
        patch.setattr(Brightness, 'load', lambda self: (_ for _ in ()).throw(FileNotFoundError('no weights')))
        with pytest.raises(FileNotFoundError, match='no weights'):
            store_region_maps(dataset(), Brightness(), out, CPU)
    assert read_regions(out / 'a.npz').shape == (7, 11)
    with pytest.raises(ValueError, match=r'b\.png'):
        store_region_maps(dataset(), Brightness(), out, CPU)
    assert np.array_equal(read_regions(out / 'a.npz'), np.ones((19, 17))) and (out / 'b.npz').read_bytes() == old
    Image.new('RGB', (23, 29), (255, 0, 0)).save(images / 'b.png')
    assert store_region_maps(dataset(), Brightness(), out, CPU) == 1
    assert np.array_equal(read_regions(out / 'b.npz'), np.ones((29, 23)))


def test_an_error_leaves_what_is_done(dataset, tmp_path):
    (tmp_path / 'images' / 'b.png').write_bytes(b'no image')
    with pytest.raises(ValueError, match=r'b\.png'):
        store_region_maps(dataset(), Brightness(), tmp_path / 'out', CPU)
    assert {path.name for path in (tmp_path / 'out').glob('*.npz')} == {'a.npz'}


def test_maps_of_two_sources_are_not_mixed(dataset, tmp_path):
    store_region_maps(dataset(), Brightness(), tmp_path / 'out', CPU)
    with pytest.raises(ValueError, match=r'out come from another source than .*"step": 60.*regions\.json: choose'):
        store_region_maps(dataset(), Brightness(60), tmp_path / 'out', CPU)


def test_two_images_of_one_name_are_refused(dataset, tmp_path):
    (tmp_path / 'images' / 'sub').mkdir()
    (tmp_path / 'images' / 'sub' / 'a.png').write_bytes((tmp_path / 'images' / 'a.png').read_bytes())
    with pytest.raises(ValueError, match=r'would both have the file a\.npz'):
        store_region_maps(dataset(), Brightness(), tmp_path / 'out', CPU)
    assert not (tmp_path / 'out').exists()


def test_a_folder_in_use_is_refused(dataset, tmp_path):
    with claim(tmp_path / 'out'), pytest.raises(BlockingIOError, match='is in use'):
        store_region_maps(dataset(), Brightness(), tmp_path / 'out', CPU)
