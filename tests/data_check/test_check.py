import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from ovseg.data_check.check import check_dataset
from ovseg.sets import ROWS
from ovseg.vocabulary import read_class_list

ROOT = Path(__file__).parents[2]
NAMES = ('a', 'b', 'c', 'd', 'e')
PIPELINE = [dict(type='LoadImage'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]
SHAPE = (23, 29)


def config(root, type_='COCOObjectDataset', pipeline=PIPELINE, names=None, ignore_index=255, **dataset):
    prefix = dict(img_path='images/val2017', seg_map_path='annotations/val2017')
    dataset = {**dict(type=type_, data_root=str(root), data_prefix=prefix, pipeline=pipeline), **dataset}
    evaluator = dict(type='IoUMetric', ignore_index=ignore_index)
    model = dict(vocabulary=dict(names=names)) if names else {}
    return Config(dict(model=model, test_dataloader=dict(dataset=dataset), test_evaluator=evaluator))


@pytest.fixture(autouse=True)
def five_are_published(monkeypatch):
    """Miniatures are complete."""
    for name, row in ROWS.items():
        monkeypatch.setitem(ROWS, name, replace(row, images=len(NAMES)))


@pytest.fixture
def coco(tmp_path):
    """COCO-Object in miniature; the label files hold every class once or more."""
    root = tmp_path / 'coco_object'
    for folder in ('images/val2017', 'annotations/val2017'):
        (root / folder).mkdir(parents=True)
    for seed, name in enumerate(NAMES):
        rng = np.random.default_rng(seed)
        picture = rng.integers(0, 256, (*SHAPE, 3)).astype(np.uint8)
        labels = rng.permutation(np.resize(np.arange(81, dtype=np.uint8), SHAPE[0] * SHAPE[1])).reshape(SHAPE)
        Image.fromarray(picture).save(root / f'images/val2017/{name}.jpg')
        Image.fromarray(labels).save(root / f'annotations/val2017/{name}_instanceTrainIds.png')
    return root


def label_file(root, name='a'):
    return root / f'annotations/val2017/{name}_instanceTrainIds.png'


def only_finding(cfg, **kwargs):
    report = check_dataset(cfg, **kwargs)
    assert len(report.findings) == 1, report.findings
    assert report.complete != report.findings[0].error
    return report.findings[0]


def test_a_complete_data_set(coco):
    report = check_dataset(config(coco, names='coco_object'))
    assert report.complete and list(report.findings) == []
    assert (report.dataset, report.data_root) == ('COCOObjectDataset', str(coco))
    assert (report.images, report.published, report.read, report.classes, report.classes_seen) == (5, 5, 5, 81, 81)


def test_the_scenes_that_come_with_ovseg(monkeypatch):
    monkeypatch.undo()
    report = check_dataset(Config.fromfile(ROOT / 'configs' / 'demo' / 'gated_tiny-clip_demo.py'))
    assert report.complete and (report.images, report.published, report.classes_seen) == (60, 60, 16)


def test_folders_that_do_not_exist(coco):
    shutil.rmtree(coco / 'images')
    finding = only_finding(config(coco, ann_file='val.txt'))
    assert finding.what == 'a part of the data set does not exist'
    assert finding.files == [str(coco / 'images/val2017'), str(coco / 'val.txt')]
    assert 'DATA_ROOT' in finding.steps[0] and '/tools/dataset_converters/coco_object.py' in finding.steps[-1]


@pytest.mark.parametrize('type_', ['PascalVOCDataset', 'PascalContextDataset'])
def test_folders_are_missed_before_a_class_stops_without_a_word(tmp_path, type_):
    assert only_finding(config(tmp_path, type_, ann_file='val.txt')).files == [
        str(tmp_path / path) for path in ('images/val2017', 'annotations/val2017', 'val.txt')]


def test_no_images(coco):
    for path in (coco / 'images/val2017').iterdir():
        path.unlink()
    number, strays = check_dataset(config(coco)).findings
    assert number.what == 'there are 0 images, but 5 in the published evaluation set'
    assert strays.what == '5 label files have no image'


def test_another_number_of_images_than_published(coco):
    for path in (coco / 'images/val2017/a.jpg', label_file(coco)):
        path.unlink()
    assert only_finding(config(coco)).what == 'there are 4 images, but 5 in the published evaluation set'


def test_an_unknown_data_set_has_no_published_number(coco):
    cfg = config(coco, 'BaseSegDataset', seg_map_suffix='_instanceTrainIds.png', metainfo=dict(classes=['x'] * 81))
    assert check_dataset(cfg).complete


def test_an_image_without_label_file(coco):
    label_file(coco).unlink()
    finding = only_finding(config(coco))
    assert finding.what == '1 of 5 label files do not exist' and finding.files == [str(label_file(coco))]
    assert finding.steps[-1] == f'python {ROOT}/tools/dataset_converters/coco_object.py {coco.parent}/coco_stuff164k {coco}'


def test_label_files_of_another_name(coco):
    """labelTrainIds and raw ids where instanceTrainIds are expected."""
    for name in NAMES:
        label_file(coco, name).rename(coco / f'annotations/val2017/{name}_labelTrainIds.png')
        Image.new('L', SHAPE[::-1]).save(coco / f'annotations/val2017/{name}.png')
    finding = only_finding(config(coco))
    assert finding.what == ('5 of 5 label files do not exist; '
                            'in place of a_instanceTrainIds.png there is a.png, a_labelTrainIds.png')


def test_a_label_file_without_image(coco):
    shutil.copy(label_file(coco), label_file(coco, 'stray'))
    finding = only_finding(config(coco))
    assert finding.what == '1 label files have no image' and finding.files == [str(label_file(coco, 'stray'))]


def test_a_list_of_images(coco):
    (coco / 'val.txt').write_text('a\nb\nc\nd\nnowhere\n')
    no_image, no_label = check_dataset(config(coco, ann_file='val.txt')).findings
    assert no_image.what == '1 of 5 images do not exist' and no_image.files == [str(coco / 'images/val2017/nowhere.jpg')]
    assert no_label.what == '1 of 5 label files do not exist', 'e is not in the list, nowhere is'


def test_stuff_labels_renamed_to_object_labels(coco):
    Image.fromarray(np.resize(np.arange(171, dtype=np.uint8), SHAPE)).save(label_file(coco, 'c'))
    finding = only_finding(config(coco))
    assert finding.what == ('1 of 5 label files have values that are no class: 81 to 170; '
                            "they look like COCO-Stuff's labelTrainIds")
    assert finding.files == [str(label_file(coco, 'c'))]


def test_a_truncated_image_does_not_hide_the_others(coco):
    path = coco / 'images/val2017/b.jpg'
    path.write_bytes(path.read_bytes()[:-200])
    report = check_dataset(config(coco))
    assert [finding.files for finding in report.findings] == [[str(path)]] and not report.complete
    assert report.read == 5 and report.classes_seen == 81


@pytest.mark.parametrize('type_, folder, suffix, values, expected', [
    ('CityscapesDataset', 'gtFine/val', '_gtFine_labelTrainIds.png', 34, "19 to 33; they look like Cityscapes' labelIds"),
    ('COCOStuffDataset', 'annotations', '_labelTrainIds.png', 182, "171 to 181; they look like COCO-Stuff's unconverted ids"),
    ('PascalVOC20Dataset', 'SegmentationClass', '.png', 60, "20 to 58; they look like PASCAL-Context's label maps"),
    ('ADE20KDataset', 'annotations/validation', '.png', 152, '150 to 150')])
def test_wrong_kinds_of_label_files(tmp_path, type_, folder, suffix, values, expected):
    img_suffix = '_leftImg8bit.png' if type_ == 'CityscapesDataset' else '.jpg'
    for path in (tmp_path / 'images', tmp_path / folder):
        path.mkdir(parents=True)
    for name in NAMES:
        Image.new('RGB', (61, 7)).save(tmp_path / 'images' / f'{name}{img_suffix}')
        Image.fromarray(np.resize(np.arange(values, dtype=np.uint8), (7, 61))).save(tmp_path / folder / f'{name}{suffix}')
    finding = only_finding(config(tmp_path, type_, data_prefix=dict(img_path='images', seg_map_path=folder)))
    assert finding.what == f'5 of 5 label files have values that are no class: {expected}'


def test_reduce_zero_label_is_honoured(coco):
    """81 values are 80 classes and nothing for a data set that counts from 1, and one too many for one that does not."""
    dataset = dict(type_='BaseSegDataset', seg_map_suffix='_instanceTrainIds.png', metainfo=dict(classes=['x'] * 80))
    report = check_dataset(config(coco, reduce_zero_label=True, **dataset))
    assert report.complete and (report.classes, report.classes_seen) == (80, 80)
    assert only_finding(config(coco, **dataset)).steps[0].endswith('set reduce_zero_label=True for the data set')


def test_classes_are_missed_only_where_everything_was_read(coco, monkeypatch):
    monkeypatch.setattr('ovseg.data_check.label_files.MANY', 2)
    cfg = config(coco, 'BaseSegDataset', seg_map_suffix='_instanceTrainIds.png', metainfo=dict(classes=['x'] * 81),
                 reduce_zero_label=True)
    assert only_finding(cfg).what.endswith('they seem to count classes from 0')
    label_file(coco).unlink()
    assert only_finding(cfg).what == '1 of 5 label files do not exist'


def test_a_class_list_of_another_length(coco):
    finding = only_finding(config(coco, names='coco_stuff'))
    count = len(read_class_list('coco_stuff'))
    assert finding.what == f"vocabulary.names='coco_stuff' lists {count} classes, the data set has 81"


def test_a_vocabulary_that_is_no_dict_is_refused(coco):
    cfg = config(coco)
    cfg.model = dict(vocabulary='coco_object')
    with pytest.raises(ValueError, match=r"^vocabulary='coco_object' must be a dict with the keys of Vocabulary: names, "):
        check_dataset(cfg)


def test_a_metric_that_ignores_a_class(coco):
    finding = only_finding(config(coco, ignore_index=7))
    assert finding.what.startswith('the metric ignores label 7, which is a class (')


@pytest.mark.parametrize('sequence', [list, tuple])
@pytest.mark.parametrize('evaluator', [[dict(type='IoUMetric')], [dict(type='Other'), dict(type='IoUMetric', ignore_index=80)]])
def test_several_metrics(coco, evaluator, sequence):
    cfg = config(coco)
    cfg.test_evaluator = sequence(evaluator)
    assert check_dataset(cfg).complete == (len(evaluator) == 1)


@pytest.mark.parametrize('evaluator', [[5], dict(ignore_index=7), (dict(type='IoUMetric'), None)])
def test_a_metric_that_is_no_dict_with_a_type(coco, evaluator):
    cfg = config(coco)
    cfg.test_evaluator = evaluator
    with pytest.raises(ValueError, match=r'^test_evaluator has .*, which must be a dict with a type$'):
        check_dataset(cfg)


def test_a_sample_is_called_one(coco):
    report = check_dataset(config(coco), seconds=1e-9)
    assert report.read == 0 and report.complete
    assert [finding.what for finding in report.findings] == ['0 of 5 label files and images were read in 1e-09 s']


def test_a_pipeline_without_annotations(coco):
    with pytest.raises(ValueError, match='pipeline of COCOObjectDataset must have one LoadAnnotations, but has 0'):
        check_dataset(config(coco, pipeline=PIPELINE[:1]))


def own(root, **dataset):
    """A data set of one's own, with the files of the miniature."""
    return config(root, 'BaseSegDataset', seg_map_suffix='_instanceTrainIds.png', **dataset)


def test_a_class_list_in_another_order(coco):
    """By a synonym, too; positions are counted from 0."""
    classes = [f'name {number}' for number in range(81)]
    names = [*classes[:3], 'other, name 4', 'name 3', *classes[5:]]
    finding = only_finding(own(coco, metainfo=dict(classes=classes), names=names))
    assert finding.what.endswith("another order than the data set: 'name 4' is class 4 of the data set and class 3 of "
                                 "vocabulary.names; 'name 3' is class 3 of the data set and class 4 of vocabulary.names")


def test_the_command_for_ones_own_data_set(coco, tmp_path):
    """A folder that the command line has named stands in the command, because the config has another one."""
    path = tmp_path / 'mine.py'
    path.write_text(own(coco, metainfo=dict(classes=['x'] * 80)).pretty_text)
    cfg = Config.fromfile(path)
    command = f'ovseg convert repair {path} --out coco_object_repaired --map 80=255'
    assert only_finding(cfg).steps[-1] == command
    coco.rename(tmp_path / 'moved')
    cfg.test_dataloader.dataset.data_root = str(tmp_path / 'moved')
    option = f'--cfg-options test_dataloader.dataset.data_root={tmp_path}/moved'
    assert only_finding(cfg).steps[-1] == f'ovseg convert repair {path} --out moved_repaired {option} --map 80=255'


def test_files_are_kept_by_all_that_is_proposed(coco):
    (coco / 'images/val2017/b.jpg').unlink()
    label_file(coco).write_bytes(b'no image')
    for cfg in (config(coco), own(coco, metainfo=dict(classes=['x'] * 70))):
        steps = [step for finding in check_dataset(cfg).findings for step in finding.steps]
        assert steps and not any(word in step for step in steps for word in ('delete', 'remove'))


def test_a_data_set_without_a_folder_of_label_files(coco):
    finding = only_finding(own(coco, data_prefix=dict(img_path='images/val2017'), metainfo=dict(classes=['x'] * 81)))
    assert finding.what == 'the data set has no folder of label files'


def test_images_with_another_ending(coco):
    (coco / 'images/val2017/b.jpg').rename(coco / 'images/val2017/b.JPG')
    findings = check_dataset(own(coco, metainfo=dict(classes=['x'] * 81))).findings
    assert [finding.what for finding in findings] == ['1 label files have no image',
                                                      '1 images do not end with .jpg and are left out']
    assert findings[1].files == [str(coco / 'images/val2017/b.JPG')] and findings[1].error
