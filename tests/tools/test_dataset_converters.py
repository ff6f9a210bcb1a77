"""The raw formats in miniature, through the converters, into the data sets of the configs."""
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image
from scipy.io import savemat

import ovseg
from ovseg.claims import LOCK
from ovseg.data_check.check import check_dataset
from ovseg.data_check.conversion import COCO_GAPS, MARKER, ade20k_847_labels, coco_object_labels

CONFIGS = Path(ovseg.__file__).parents[1] / 'configs' / '_base_' / 'datasets'
COCO = ('000000000139', '000000000285', '000000000632')
ADE = {'ADE_val_00000001': 'urban/street', 'ADE_val_00000002': 'home_or_hotel/bedroom', 'ADE_val_00000003': 'urban/street'}
VOC = ('2008_000002', '2008_000003', '2009_000001')
SHAPES = ((37, 41), (43, 31), (29, 47))


def save(pixels, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def noise(shape, seed, high=256):
    return np.random.default_rng(seed).integers(0, high, shape)


def read(path):
    return np.array(Image.open(path))


def check(name, root):
    """Findings of check_dataset for a config's data set, except its size."""
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    cfg.test_dataloader.dataset.data_root = str(root)
    return [finding.what for finding in check_dataset(cfg).findings if 'published evaluation set' not in finding.what]


@pytest.fixture
def coco_stuff(tmp_path):
    """COCO-Stuff 164k as it is unzipped, and mmseg's converted files, which are no input."""
    root = tmp_path / 'coco_stuff164k'
    ids = np.array([*(id_ for id_ in range(182) if id_ not in COCO_GAPS), 255])
    for seed, (name, shape) in enumerate(zip(COCO, SHAPES)):
        save(noise((*shape, 3), seed), root / f'images/val2017/{name}.jpg')
        save(ids[noise(shape, seed, len(ids))], root / f'annotations/val2017/{name}.png')
        save(np.zeros(shape), root / f'annotations/val2017/{name}_labelTrainIds.png')
    return root


def test_coco_object(in_process, coco_stuff):
    out = coco_stuff.parent / 'coco_object'
    output = in_process('dataset_converters/coco_object.py', coco_stuff, out, '--nproc', 2)
    assert '3 label maps written, 0 were there' in output
    for name in COCO:
        raw = read(coco_stuff / f'annotations/val2017/{name}.png')
        assert np.array_equal(read(out / f'annotations/val2017/{name}_instanceTrainIds.png'), coco_object_labels(raw))
    assert len(list((out / 'annotations/val2017').glob('*.png'))) == 3
    assert check('coco_object', out) == []
    assert '0 label maps written, 3 were there' in in_process('dataset_converters/coco_object.py', coco_stuff, out)


def test_coco_object_does_not_write_into_its_input(in_process, coco_stuff):
    before = sorted(coco_stuff.rglob('*'))
    with pytest.raises(SystemExit, match='annotations/val2017 is not empty and was not made by coco_object'):
        in_process('dataset_converters/coco_object.py', coco_stuff, coco_stuff)
    assert sorted(coco_stuff.rglob('*')) == before


def test_coco_object_without_label_maps(in_process, tmp_path):
    with pytest.raises(SystemExit, match=r'unzip stuffthingmaps_trainval2017\.zip into'):
        in_process('dataset_converters/coco_object.py', tmp_path / 'nowhere', tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def write_ade(root, name, scene, shape, seed):
    folder = root / 'images/ADE/validation' / scene
    save(noise((*shape, 3), seed), folder / f'{name}.jpg')
    segmentation = noise((*shape, 3), seed)
    segmentation[..., 0] //= 2
    save(segmentation, folder / f'{name}_seg.png')
    save(segmentation, folder / name / f'instance_000_{name}.png')  # of one object, as the archive has them


@pytest.fixture
def ade20k(tmp_path):
    """ADE20K_2021_17_01 as it is unzipped, and a training image, which is not converted."""
    root = tmp_path / 'ADE20K_2021_17_01'
    for seed, ((name, scene), shape) in enumerate(zip(ADE.items(), SHAPES)):
        write_ade(root, name, scene, shape, seed)
    save(noise((29, 31, 3), 0), root / 'images/ADE/training/urban/street/ADE_train_00000001.jpg')
    (root / 'index_ade20k.pkl').write_bytes(b"cos\nsystem\n(S'touch executed'\ntR.")  # never opened
    return root


def test_ade20k_847(in_process, ade20k):
    assert '3 label maps written, 0 were there' in in_process('dataset_converters/ade20k_847.py', ade20k, '--nproc', 2)
    for name, scene in ADE.items():
        segmentation = read(ade20k / f'images/ADE/validation/{scene}/{name}_seg.png')
        assert np.array_equal(read(ade20k / f'annotations_detectron2/validation/{name}.tif'), ade20k_847_labels(segmentation))
    images = {path.name for path in (ade20k / 'images_detectron2/validation').iterdir()}
    assert images - {LOCK} == {MARKER, *(f'{name}.jpg' for name in ADE)}
    assert check('ade20k_847', ade20k) == []
    (ade20k / 'images_detectron2/validation/ADE_val_00000002.jpg').unlink()
    assert '1 label maps written, 2 were there' in in_process('dataset_converters/ade20k_847.py', ade20k)


def test_ade20k_847_into_another_folder(in_process, ade20k, tmp_path):
    before = sorted(ade20k.rglob('*'))
    in_process('dataset_converters/ade20k_847.py', ade20k, '--out', tmp_path / 'out')
    assert sorted(ade20k.rglob('*')) == before
    assert check('ade20k_847', tmp_path / 'out') == []


def test_ade20k_847_names_an_image_without_segmentation(in_process, ade20k):
    lonely = ade20k / 'images/ADE/validation/urban/street/ADE_val_00000003'
    lonely.with_name(f'{lonely.name}_seg.png').unlink()
    with pytest.raises(SystemExit, match=rf'cannot convert {lonely}\.jpg: .*{lonely.name}_seg\.png'):
        in_process('dataset_converters/ade20k_847.py', ade20k)


def test_ade20k_847_leaves_a_folder_that_others_prepared(in_process, ade20k):
    save(noise((29, 31, 3), 0), ade20k / 'images_detectron2/validation/ADE_val_00000001.jpg')
    with pytest.raises(SystemExit, match='images_detectron2/validation is not empty and was not made by ade20k_847'):
        in_process('dataset_converters/ade20k_847.py', ade20k)


def test_ade20k_847_of_another_folder(in_process, tmp_path):
    with pytest.raises(SystemExit, match='must be the unzipped ADE20K_2021_17_01'):
        in_process('dataset_converters/ade20k_847.py', tmp_path)


@pytest.fixture
def voc2010(tmp_path):
    """VOC2010 with PASCAL-Context's trainval.tar.gz; the last image is none of val."""
    root = tmp_path / 'VOCdevkit' / 'VOC2010'
    (root / 'trainval').mkdir(parents=True)
    (root / 'ImageSets/SegmentationContext').mkdir(parents=True)
    (root / 'ImageSets/SegmentationContext/val.txt').write_text('\n'.join(VOC[:2]) + '\n')
    for seed, (name, shape) in enumerate(zip(VOC, SHAPES)):
        save(noise((*shape, 3), seed), root / f'JPEGImages/{name}.jpg')
        savemat(root / f'trainval/{name}.mat', dict(LabelMap=noise(shape, seed, 460).astype(np.uint16)), do_compression=True)
    return root


def test_context459(in_process, voc2010):
    assert '2 label maps written, 0 were there' in in_process('dataset_converters/context459.py', voc2010, '--nproc', 2)
    out = voc2010 / 'annotations_detectron2/pc459_val'
    assert {path.name for path in out.iterdir()} - {LOCK} == {MARKER, f'{VOC[0]}.tif', f'{VOC[1]}.tif'}
    for seed in range(2):
        raw = noise(SHAPES[seed], seed, 460)
        assert np.array_equal(read(out / f'{VOC[seed]}.tif'), np.where(raw == 0, 65535, raw - 1))
    assert check('context459', voc2010) == []


def test_context459_with_a_list_and_a_folder_of_ones_own(in_process, voc2010, tmp_path):
    (tmp_path / 'one.txt').write_text(f'{VOC[2]}\n')
    in_process('dataset_converters/context459.py', voc2010, '--split', tmp_path / 'one.txt', '--out', tmp_path / 'out')
    assert [path.name for path in (tmp_path / 'out/annotations_detectron2/pc459_val').glob('*.tif')] == [f'{VOC[2]}.tif']
    assert not (voc2010 / 'annotations_detectron2').exists()


def test_context459_counts_the_label_maps_that_are_missing(in_process, voc2010):
    (voc2010 / f'trainval/{VOC[1]}.mat').unlink()
    with pytest.raises(SystemExit, match=f'1 of 2 images of .*val.txt have no .mat file in .*the first is {VOC[1]}'):
        in_process('dataset_converters/context459.py', voc2010)
    assert not (voc2010 / 'annotations_detectron2').exists()


@pytest.mark.parametrize('share', [0, 0.1, 0.5, 0.99])
def test_context459_names_a_broken_file(in_process, voc2010, share):
    broken = voc2010 / f'trainval/{VOC[0]}.mat'
    content = broken.read_bytes()
    broken.write_bytes(content[:int(share * len(content))])
    with pytest.raises(SystemExit, match=f'cannot convert {broken}: '):
        in_process('dataset_converters/context459.py', voc2010)
