"""Label maps that an evaluation must not score, in data sets of one's own."""
import pickle

import numpy as np
import pytest
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS
from PIL import Image

from ovseg.data_check import checked_labels
from ovseg.data_check.checked_labels import check_labels, check_while_read, scored_without

CLASSES = ['grass', 'water', 'sand']
SHAPE = (23, 29)
PIPELINE = [dict(type='LoadImage'), dict(type='Resize', scale=(64, 32)), dict(type='LoadAnnotations'),
            dict(type='PackSegInputs')]
FLIPS = [dict(type='RandomFlip', prob=0.), dict(type='RandomFlip', prob=1.)]
TTA = [PIPELINE[0], PIPELINE[1], dict(type='TestTimeAug', transforms=[FLIPS, PIPELINE[2:3], PIPELINE[3:]])]


@pytest.fixture(autouse=True)
def mmseg_scope():
    """The effect of a config's ``default_scope``."""
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


@pytest.fixture
def warnings_of(monkeypatch):
    """The lines that are logged."""
    texts = []
    monkeypatch.setattr(checked_labels, 'print_log', lambda text, *_: texts.append(text))
    return texts


@pytest.fixture
def build(tmp_path):
    """A data set of four images, with labels 0 to 2 and 255; ``values`` are label maps in place of drawn ones."""
    def from_values(values=(), suffix='.png', **options):
        rng = np.random.default_rng(0)
        for folder in ('images', 'labels'):
            (tmp_path / folder).mkdir()
        for index, name in enumerate('abcd'):
            Image.fromarray(rng.integers(0, 256, (*SHAPE, 3), np.uint8)).save(tmp_path / 'images' / f'{name}.jpg')
            labels = np.array([0, 1, 2, 255], np.uint8)[rng.integers(0, 4, SHAPE)]
            image = Image.fromarray(labels) if index >= len(values) else values[index](labels)
            image.save(tmp_path / 'labels' / f'{name}{suffix}', quality=50)
        return DATASETS.build({**dict(
            type='BaseSegDataset', data_root=str(tmp_path), metainfo=dict(classes=CLASSES), pipeline=PIPELINE,
            seg_map_suffix=suffix, data_prefix=dict(img_path='images', seg_map_path='labels')), **options})
    return from_values


def refusal(dataset, ignore_index=255):
    with pytest.raises(ValueError) as error:
        check_labels(dataset, ignore_index)
    assert '\n' not in str(error.value)
    return str(error.value)


def image_of(labels, old=None, new=None, **kwargs):
    return Image.fromarray(np.where(labels == old, new, labels).astype(np.uint8), **kwargs)


FORMS = {
    'values that are no class: 3 to 3': lambda labels: image_of(labels, 255, 3),
    'colour images': lambda labels: Image.fromarray(labels).convert('RGB'),
    'alpha channel': lambda labels: Image.fromarray(labels).convert('LA'),
    'another size': lambda labels: Image.fromarray(labels).resize((17, 19), 0),
    'values over 8 bits': lambda labels: Image.fromarray(labels.astype(np.uint16) * 257)}


@pytest.mark.parametrize('what', FORMS)
def test_wrong_label_maps_are_refused_before_the_first_image(build, tmp_path, what):
    message = refusal(build([FORMS[what]] * 2))
    assert message.startswith('BaseSegDataset: 2 of 4 label files ') and what in message
    assert any(f'the first is {tmp_path}/labels/{name}.png. ovseg check-data CONFIG' in message for name in 'ab')


def test_jpeg_masks_are_refused(build):
    assert 'are JPEGs, whose compression changes labels' in refusal(build(suffix='.jpg'))


def binary(labels):
    return Image.fromarray(np.where(labels > 1, 255, 0).astype(np.uint8))


def test_masks_of_0_and_255_are_worth_a_warning_for_three_classes(build, warnings_of):
    check_labels(build([binary] * 4), 255)
    assert warnings_of == [
        "BaseSegDataset: all label files hold nothing but 0 and 255, and 255 is not scored: 'grass' would be the only class"]


def test_masks_of_0_and_255_are_refused_for_two_classes(build):
    message = refusal(build([binary] * 4, metainfo=dict(classes=CLASSES[:2])))
    assert "hold nothing but 0 and 255, and 255 is not scored: 'grass' would be the only class, the first is " in message


def test_a_broken_label_map_is_named(build, tmp_path):
    dataset = build()
    (tmp_path / 'labels' / 'c.png').write_bytes((tmp_path / 'labels' / 'c.png').read_bytes()[:90])
    assert f'the first is {tmp_path}/labels/c.png' in refusal(dataset)


@pytest.mark.parametrize('pipeline', [PIPELINE, TTA], ids=['plain', 'tta'])
@pytest.mark.parametrize('what', [*FORMS, 'cannot be read'])
def test_what_the_sample_has_missed_is_refused_when_it_is_read(build, tmp_path, monkeypatch, pipeline, what):
    monkeypatch.setattr(checked_labels, 'SECONDS', 0)
    dataset = build([FORMS.get(what, Image.fromarray)], pipeline=pipeline)
    if what == 'cannot be read':
        (tmp_path / 'labels' / 'a.png').write_bytes(b'no image')
    check_labels(dataset, 255)
    assert len([dataset[index] for index in (1, 2, 3)]) == 3
    with pytest.raises(ValueError, match=f'label map {tmp_path}/labels/a.png') as error:
        pickle.loads(pickle.dumps(dataset))[0]  # noqa: S301  as a worker gets it
    assert '\n' not in str(error.value)


def test_correct_label_maps_are_read_as_before(build):
    before, after = build(pipeline=TTA), None
    expected = [before[index] for index in range(4)]
    check_labels(before, 255)
    check_while_read(before, 255)  # twice does no harm
    for want, after in zip(expected, (before[index] for index in range(4))):
        for old, new in zip(want['data_samples'], after['data_samples']):
            assert old.gt_sem_seg.data.equal(new.gt_sem_seg.data)
            assert old.gt_sem_seg.data.dtype == new.gt_sem_seg.data.dtype


def test_values_are_judged_by_the_label_that_the_metric_leaves_out(build):
    dataset = build([lambda labels: image_of(labels, 255, 7)] * 4)
    check_labels(dataset, 7)
    assert '7 to 7' in refusal(DATASETS.build(dict(
        type='BaseSegDataset', data_root=dataset.data_root, metainfo=dict(classes=CLASSES), pipeline=PIPELINE,
        data_prefix=dict(img_path='images', seg_map_path='labels'))))


def test_reduce_zero_label(build):
    """File values 1 to 3 are the classes, 0 and 255 are not scored."""
    shifted = [lambda labels: Image.fromarray(np.where(labels == 255, 0, labels + 1).astype(np.uint8))] * 4
    dataset = build(shifted, reduce_zero_label=True)
    check_labels(dataset, 255)
    assert len([dataset[index] for index in range(4)]) == 4


def test_files_that_are_left_out_are_warned_of(build, tmp_path, warnings_of):
    dataset = build()
    (tmp_path / 'images' / 'b.jpg').rename(tmp_path / 'images' / 'b.JPG')
    dataset.full_init()
    check_labels(dataset, 255)
    assert warnings_of == [
        f'BaseSegDataset: 1 label maps have no image and are not scored, the first is {tmp_path}/labels/b.png',
        f"BaseSegDataset: 1 images do not end with img_suffix='.jpg' and are not scored, the first is {tmp_path}/images/b.JPG"]


def test_one_class_in_all_label_maps_is_worth_a_warning(build, warnings_of):
    check_labels(build([lambda labels: Image.fromarray(np.full_like(labels, 2))] * 4), 255)
    assert warnings_of == ['BaseSegDataset: all label files hold nothing but class 2 and ignored pixels']


def test_an_image_without_a_place_for_its_label_map_is_named(build, tmp_path):
    dataset = build(data_prefix=dict(img_path='images'))
    check_labels(dataset, 255)
    with pytest.raises(ValueError, match=f'{tmp_path}/images/a.jpg has no label map: .* needs data_prefix.seg_map_path'):
        dataset[0]


def test_the_label_that_metrics_leave_out():
    class Metric:
        def __init__(self, **settings):
            vars(self).update(settings)
    assert scored_without([Metric(), Metric(ignore_index=7), Metric(ignore_index=9)]) == 7
    assert scored_without([Metric()]) == 255
