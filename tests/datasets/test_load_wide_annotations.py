import numpy as np
import pytest
from mmseg.registry import TRANSFORMS
from PIL import Image

from ovseg.datasets import LoadWideAnnotations

LABELS = np.random.default_rng(0).integers(0, 847, (31, 43), np.uint16)
LABELS[:5, :7] = 65535
LABELS[5, :4] = 0, 255, 256, 846


def load(path, reduce_zero_label=False, label_map=None):
    results = dict(seg_map_path=str(path), reduce_zero_label=reduce_zero_label, label_map=label_map, seg_fields=[])
    return LoadWideAnnotations()(results)


def save(path, labels=LABELS, **options):
    Image.fromarray(labels).save(path, **options)
    return path


def test_configs_find_it_in_mmseg():
    assert isinstance(TRANSFORMS.build(dict(type='LoadWideAnnotations')), LoadWideAnnotations)


@pytest.mark.parametrize('name', ['a.tif', 'a.png'])
def test_labels_are_those_of_the_file(tmp_path, name):
    results = load(save(tmp_path / name))
    np.testing.assert_array_equal(results['gt_seg_map'], LABELS)
    assert results['seg_fields'] == ['gt_seg_map']


def test_a_compressed_tif(tmp_path):
    np.testing.assert_array_equal(load(save(tmp_path / 'a.tif', compression='tiff_adobe_deflate'))['gt_seg_map'], LABELS)


@pytest.mark.parametrize(('labels', 'message'), [
    (LABELS.astype(np.uint8), 'uint8'), (np.zeros((5, 7, 3), np.uint8), r'\(5, 7, 3\)')], ids=['8 bits', 'a picture'])
def test_files_of_another_kind_are_refused_by_name(tmp_path, labels, message):
    with pytest.raises(ValueError, match=rf'a\.png is no 16-bit label map: .*{message}'):
        load(save(tmp_path / 'a.png', labels))


@pytest.mark.parametrize('content', [b'', b'no label map', b'II*\0'], ids=['empty', 'text', 'only a header'])
def test_broken_files_are_named(tmp_path, content):
    path = tmp_path / 'broken.tif'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r'cannot read label map .*broken\.tif'):
        load(path)


@pytest.mark.parametrize('kept', [0.1, 0.5, 0.9])
def test_a_file_that_is_cut_off_is_named(tmp_path, kept):
    path = save(tmp_path / 'cut.png')
    path.write_bytes(path.read_bytes()[:int(kept * path.stat().st_size)])
    with pytest.raises(ValueError, match=r'cannot read label map .*cut\.png'):
        load(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'missing\.tif'):
        load(tmp_path / 'missing.tif')


@pytest.mark.parametrize('wish', [dict(reduce_zero_label=True), dict(label_map={0: 1, 1: 255})])
def test_what_would_renumber_labels_is_refused(tmp_path, wish):
    with pytest.raises(ValueError, match=r'reduce_zero_label and metainfo\.classes'):
        load(save(tmp_path / 'a.tif'), **wish)


@pytest.mark.filterwarnings('ignore:`reduce_zero_label` will be deprecated')
def test_so_is_its_own_reduce_zero_label(tmp_path):
    with pytest.raises(ValueError, match='reduce_zero_label'):
        LoadWideAnnotations(reduce_zero_label=True)(
            dict(seg_map_path=str(save(tmp_path / 'a.tif')), reduce_zero_label=False, label_map=None, seg_fields=[]))
