"""The remote-sensing sets: class lists as published, and every set in its true layout, scored against a pixel loop."""
import hashlib
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData
from mmseg.registry import DATASETS, METRICS
from PIL import Image

import ovseg
from ovseg.data_check import checked_labels
from ovseg.data_check.check import check_dataset
from ovseg.data_check.checked_labels import check_labels
from ovseg.data_check.data_files import check_data_files
from ovseg.engine import VocabularyCheckHook, vocabulary_check_hook
from ovseg.sets import FAMILIES, ROWS
from ovseg.vocabulary import Vocabulary, read_class_list

BASES = Path(ovseg.__file__).parents[1] / 'configs' / '_base_' / 'datasets'
NAMES = [row.name for row in FAMILIES['remote sensing']]

# Classes, and the first 8 digits of the SHA-256 of SegEarth-OV's file (cls_*.txt at 3e22a96) without spaces around its lines.
WORDS = {
    'openearthmap_segearth': (9, '42c1a32e'), 'loveda_segearth': (7, '0f937794'), 'isaid': (16, '267ff1dc'),
    'potsdam_segearth': (6, '7570ab23'), 'isprs': (6, '14a0f218'), 'uavid_segearth': (7, 'f33f1b91'),
    'udd5_segearth': (5, '39c2b88a'), 'vdd_segearth': (7, '375233ff'), 'binary_building': (2, '8e26c94b'),
    'binary_road': (2, '84253c70'), 'binary_water': (2, 'cab7c233')}
OWN = dict(loveda='LoveDADataset', isaid='iSAIDDataset', isprs='PotsdamDataset')  # mmseg has their names

# Images and label files below DATA_ROOT, values that are no class, value of class 0, names.
LAYOUTS = dict(
    openearthmap=('OpenEarthMap/img_dir/val/{}.tif', 'OpenEarthMap/ann_dir/val/{}.tif', (), 0, ('aachen_1', 'zanzibar_42')),
    loveda=('loveDA/img_dir/val/{}.png', 'loveDA/ann_dir/val/{}.png', (0,), 1, ('2522', '4190')),
    isaid=('iSAID/img_dir/val/{}.png', 'iSAID/ann_dir/val/{}_instance_color_RGB.png', (255,), 0,
           ('P0003_0_896_0_896', 'P0003_0_896_512_1408')),
    potsdam=('potsdam/img_dir/val/{}.png', 'potsdam/ann_dir/val/{}.png', (0,), 1,
             ('2_13_0_0_512_512', '7_13_5488_5488_6000_6000')),
    vaihingen=('vaihingen/img_dir/val/{}.png', 'vaihingen/ann_dir/val/{}.png', (0,), 1,
               ('area2_0_0_512_512', 'area38_0_512_512_1024')),
    uavid=('UAVid/img_dir/test/{}.png', 'UAVid/ann_dir/test/{}.png', (255,), 0,
           ('seq21_000000_0_1080_0_1280', 'seq21_000000_1080_2160_2560_3840')),
    udd5=('UDD5/val/src/{}.JPG', 'UDD5/val/gt/{}.png', (), 0, ('000124', 'DJI_0285')),
    vdd=('VDD/test/src/{}.JPG', 'VDD/test/gt/{}.png', (), 0, ('DJI_0001', 'DJI_0399')),
    whu_aerial=('WHU-BD/val/image/{}.png', 'WHU-BD/val/label_cvt/{}.png', (), 0, ('2_11', '2_12')),
    whu_sat_ii=('WHU_Sat_II/Satellite_dataset_Ⅱ_East_Asia/1.cropped/test/image/{}.tif',
                'WHU_Sat_II/Satellite_dataset_Ⅱ_East_Asia/1.cropped/test/label_cvt/{}.tif', (), 0, ('0', '901')),
    inria=('Inria/AerialImageDataset/train/img_dir/split_test/{}.png',
           'Inria/AerialImageDataset/train/ann_dir/split_test/{}.png', (), 0,
           ('austin1_0_0_1000_1000', 'vienna3_4000_4000_5000_5000')),
    xbd=('xBD/test/images_pre/{}.png', 'xBD/test/targets_cvt_pre/{}.png', (), 0,
         ('guatemala-volcano_00000003_pre_disaster', 'joplin-tornado_00000007_pre_disaster')),
    chn6_cug=('CHN6-CUG/val/image_cvt/{}.jpg', 'CHN6-CUG/val/label_cvt/{}.png', (), 0, ('am100001', 'cd2')),
    deepglobe_road=('GlobalRoadSet_Val/DeepGlobe_test_1530/image_cvt/{}.jpg',
                    'GlobalRoadSet_Val/DeepGlobe_test_1530/label_cvt/{}.png', (), 0, ('104', '996')),
    massachusetts_road=('GlobalRoadSet_Val/Massachusetts_test_49/img/{}.jpg',
                        'GlobalRoadSet_Val/Massachusetts_test_49/label_cvt/{}.png', (), 0, ('10378780_15', '26728705_15')),
    spacenet_road=('GlobalRoadSet_Val/SpaceNet_test_567/img/{}.jpg', 'GlobalRoadSet_Val/SpaceNet_test_567/label_cvt/{}.png', (),
                   0, ('img1', 'img567')),
    wbs_si=('water-body-segmentation-in-satellite-images/WaterBodiesDatasetPreprocessed/WaterBodiesDatasetPreprocessed/Images/'
            '{}.jpg', 'water-body-segmentation-in-satellite-images/WaterBodiesDatasetPreprocessed/'
            'WaterBodiesDatasetPreprocessed/Masks_cvt/{}.png', (), 0, ('water_body_2396', 'water_body_1074')))
SIZES = ((53, 79), (67, 41))  # height, width


def draw(name, root, classes):
    """Write the files of a set; returns its label maps as they stand in the files, by the name of the image."""
    image_path, label_path, ignored, first, names = LAYOUTS[name]
    maps = {}
    for seed, (stem, size) in enumerate(zip(names, SIZES)):
        rng = np.random.default_rng(seed)
        values = np.array([*range(first, first + classes), *ignored], np.uint8)
        labels = values[rng.integers(0, len(values), (size[0] // 5 + 1, size[1] // 5 + 1))]
        maps[stem] = labels.repeat(5, 0).repeat(5, 1)[:size[0], :size[1]]
        for path, pixels in ((image_path, rng.integers(0, 256, (*size, 3)).astype(np.uint8)), (label_path, maps[stem])):
            target = root / path.format(stem)
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(target)
    if name == 'wbs_si':
        folder = (root / image_path).parents[1]
        (folder / 'val.txt').write_text(''.join(f'{stem}\n' for stem in names))
        Image.new('RGB', (7, 5)).save(folder / 'Images' / 'of_the_training_set.jpg')
    return maps


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """A set's config with its files, and the label maps."""
    def write(name):
        monkeypatch.setenv('DATA_ROOT', str(tmp_path))
        cfg = Config.fromfile(BASES / f'{name}.py')
        return cfg, draw(name, tmp_path, len(read_class_list(ROWS[name].class_list)))
    return write


def build(cfg):
    with DefaultScope.overwrite_default_scope('mmseg'):
        return DATASETS.build(cfg.test_dataloader.dataset), METRICS.build(cfg.test_evaluator)


@pytest.mark.parametrize('name', NAMES)
def test_a_miniature_is_scored_as_a_pixel_loop_does(name, drawn):
    cfg, maps = drawn(name)
    dataset, metric = build(cfg)
    _, _, ignored, first, _ = LAYOUTS[name]
    count = len(dataset.metainfo['classes'])
    metric.dataset_meta = dataset.metainfo
    hits, union, predicted, labelled = (np.zeros(count, int) for _ in range(4))
    assert len(dataset) == len(maps)
    rng = np.random.default_rng(7)
    for index in range(len(dataset)):
        item = dataset[index]
        sample = item['data_samples']
        stem = Path(sample.img_path).stem
        assert max(item['inputs'].shape[1:]) == 448 and sample.ori_shape == maps[stem].shape
        guess = rng.integers(0, count, maps[stem].shape)
        sample.pred_sem_seg = PixelData(data=torch.from_numpy(guess)[None])
        metric.process({}, [sample.to_dict()])
        for value, label in zip(maps[stem].ravel().tolist(), guess.ravel().tolist()):
            if value in ignored:
                continue
            truth = value - first
            hits[truth] += truth == label
            predicted[label] += 1
            labelled[truth] += 1
            for each in {truth, label}:
                union[each] += 1
    found = [sum(result[place] for result in metric.results).numpy() for place in range(4)]
    for areas, expected in zip(found, (hits, union, predicted, labelled)):
        np.testing.assert_array_equal(areas, expected)
    assert labelled.all() and hits.sum() > 0


@pytest.mark.parametrize('name', NAMES)
def test_a_miniature_passes_the_check_but_for_its_number_of_images(name, drawn):
    cfg, _ = drawn(name)
    report = check_dataset(cfg)
    row = ROWS[name]
    expected = [f'there are 2 images, but {row.images} in the published evaluation set'] if row.images else []
    assert [finding.what for finding in report.findings if finding.error] == expected
    assert report.classes_seen == report.classes == len(read_class_list(row.class_list))


@pytest.mark.parametrize('name', ['udd5', 'whu_aerial', 'potsdam'])
def test_a_set_with_other_label_values_is_named_with_what_to_do(name, drawn):
    cfg, maps = drawn(name)
    dataset = cfg.test_dataloader.dataset
    for stem, labels in maps.items():
        path = Path(dataset.data_root, dataset.data_prefix.seg_map_path, f'{stem}.png')
        colour = np.stack([labels] * 3, -1) if name == 'udd5' else labels * 255 if name == 'whu_aerial' else labels + 60
        Image.fromarray(colour.astype(np.uint8)).save(path)
    finding, = [finding for finding in check_dataset(cfg).findings if finding.error and 'published' not in finding.what]
    message = dict(udd5='are colour images', whu_aerial='nothing but 0 and 255', potsdam='values that are no class')[name]
    assert message in finding.what
    step = dict(udd5='ovseg convert repair', whu_aerial=f'ovseg convert sets whu_aerial {dataset.data_root}',
                potsdam='potsdam.py SRC')[name]
    assert any(step in found for found in finding.steps)


@pytest.mark.parametrize(('name', 'title', 'command'), [
    ('whu_aerial', 'WHU Aerial', 'ovseg convert sets whu_aerial {root}'),
    ('uavid', 'UAVid', 'ovseg convert sets uavid SRC {root}'),
    ('loveda', 'LoveDADataset', 'loveda.py SRC -o {root}'),
    ('vdd', 'VDD', None)])
def test_an_evaluation_names_the_set_and_the_command_that_makes_its_files(name, title, command, drawn):
    cfg, _ = drawn(name)
    dataset = cfg.test_dataloader.dataset
    path = min(Path(dataset.data_root, dataset.data_prefix.seg_map_path).iterdir())
    end = command.format(root=dataset.data_root) if command else ''
    Image.fromarray(np.array(Image.open(path)) + 77).save(path)
    with DefaultScope.overwrite_default_scope('mmseg'), pytest.raises(ValueError, match='no class') as caught:
        check_labels(DATASETS.build(dataset), 255)
    assert str(caught.value).startswith(f'{title}: ') and str(caught.value).endswith(end or 'such files.')
    path.unlink()
    with DefaultScope.overwrite_default_scope('mmseg'), pytest.raises(FileNotFoundError, match='do not exist') as caught:
        check_data_files(dataset)
    assert str(caught.value).startswith(f'{title}: ') and str(caught.value).endswith(end or 'what is missing.')


def test_an_evaluation_warns_of_another_number_of_images(drawn, monkeypatch):
    lines = []
    monkeypatch.setattr(checked_labels, 'print_log', lambda text, *_: lines.append(text))
    for name in ('inria', 'vdd'):  # that of VDD is not stated
        cfg, _ = drawn(name)
        with DefaultScope.overwrite_default_scope('mmseg'):
            check_labels(DATASETS.build(cfg.test_dataloader.dataset), 255)
    line, = lines
    assert line.startswith('Inria: there are 2 images, but 675 in the published evaluation set')
    assert 'ovseg convert sets inria' in line


@pytest.mark.parametrize(('name', 'note'), [('udd5', 'add --map R,G,B=ID for colours that are not those'),
                                            ('vdd', 'set metainfo.palette .* names all of them')])
def test_colour_masks_are_repaired_by_the_palette_that_is_known(name, note, drawn):
    cfg, maps = drawn(name)
    dataset = cfg.test_dataloader.dataset
    for stem, labels in maps.items():
        Image.fromarray(np.stack([labels, labels * 3, labels * 5], -1)).save(
            Path(dataset.data_root, dataset.data_prefix.seg_map_path, f'{stem}.png'))
    finding, = [finding for finding in check_dataset(cfg).findings if finding.error]
    assert re.search(note, finding.steps[0]) and finding.steps[-1].endswith('--rgb palette')


def test_a_missing_split_is_named_with_where_to_get_it(drawn):
    cfg, _ = drawn('wbs_si')
    Path(cfg.test_dataloader.dataset.data_root, 'val.txt').unlink()
    finding, = check_dataset(cfg).findings
    assert finding.what == 'a part of the data set does not exist' and finding.files[0].endswith('val.txt')
    assert any('wbs-si_val.txt' in step for step in finding.steps)


@pytest.mark.parametrize('name', WORDS)
def test_words_are_those_of_segearth_ov(name):
    count, digest = WORDS[name]
    lines = [','.join(synonyms) for synonyms in read_class_list(name)]
    assert len(lines) == count
    assert hashlib.sha256('\n'.join(lines).encode()).hexdigest()[:8] == digest


def test_every_list_of_a_protocol_is_compared():
    assert {ROWS[name].class_lists[1] for name in NAMES} == set(WORDS)


@pytest.mark.parametrize('name', OWN)
def test_names_are_those_of_mmseg_as_words(name):
    classes = DATASETS.get(OWN[name]).METAINFO['classes']
    assert [names for names, in read_class_list(name)] == [re.sub('_', ' ', word).lower() for word in classes]


@pytest.mark.parametrize('name', NAMES)
def test_a_set_of_mmseg_has_its_class_and_its_names(name):
    row = ROWS[name]
    if row.type != 'TableDataset':
        assert [re.sub('_', ' ', word).lower() for word in DATASETS.get(row.type).METAINFO['classes']] == [
            names[0] for names in read_class_list(row.class_list)]
    assert row.type == dict(loveda='LoveDADataset', isaid='iSAIDDataset', potsdam='PotsdamDataset',
                            vaihingen='ISPRSDataset').get(name, 'TableDataset')


@pytest.mark.parametrize(('prob_thd', 'warned'), [(0.1, False), (0.2, True)])
def test_the_threshold_of_a_protocol_is_not_warned_of(prob_thd, warned, monkeypatch, tmp_path):
    said = []
    monkeypatch.setattr(vocabulary_check_hook, 'print_log', lambda message, *args: said.append(message))
    (tmp_path / 'images').mkdir()
    dataset = DATASETS.get('ISPRSDataset')(data_root=str(tmp_path), data_prefix=dict(img_path='images'), lazy_init=True)
    words = Vocabulary('isprs')
    model = SimpleNamespace(class_names=words.class_names, decoder=SimpleNamespace(prob_thd=prob_thd, bg_idx=5),
                            vocabulary=words, words=words, image_encoder=SimpleNamespace(regions=None),
                            text_embeddings=torch.eye(6))
    monkeypatch.setattr(vocabulary_check_hook, '_share_texts', lambda model: None)
    runner = SimpleNamespace(model=model, test_dataloader=SimpleNamespace(dataset=dataset),
                             message_hub=SimpleNamespace(update_info=lambda *args: None))
    VocabularyCheckHook().before_test(runner)
    assert any('prob_thd' in line for line in said) == warned
