import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.registry import DefaultScope
from PIL import Image

from ovseg.models import CLIPSegmentor
from ovseg.resources import configs_dir
from ovseg.visualization import explanation
from ovseg.visualization.explanation import MOST_CLASSES, explain, read_ground_truth

NAMES = [f'class {index}' for index in range(9)]
WINDOW = ['attention', 'similarity', 'outliers', 'clusters', 'cls_similarity']


@pytest.fixture(scope='module')
def segmentor():
    torch.manual_seed(7)
    with DefaultScope.overwrite_default_scope('mmseg'):
        return CLIPSegmentor(clip_model='ovseg-tiny-clip', pretrained=None, name_path=NAMES, prompt_templates=['a {}.'],
                             apply_ctd=True, ctd_cfg=dict(eps=0.9), slide_crop=0)


@pytest.fixture(scope='module')
def image():
    """An image of RGB noise, and the same as the network gets it."""
    rgb = np.random.default_rng(0).integers(0, 256, (67, 83, 3), np.uint8)
    return rgb, torch.from_numpy(rgb[..., ::-1].transpose(2, 0, 1).copy())


def titles(figure):
    return [axis.get_title() for axis in figure.axes if axis.get_title()]


def test_there_is_a_figure_for_each_question(segmentor, image):
    figures = explain(segmentor, *image)
    assert list(figures) == [*WINDOW, 'scores'] and all(isinstance(figure, Figure) for figure in figures.values())
    ground_truth = np.zeros(image[0].shape[:2], int)
    figures = explain(segmentor, *image, points=[(5, 7), (60, 80)], model_types=['SFP'], classes=['class 3', 'class 0'],
                      ground_truth=ground_truth)
    assert list(figures) == [*WINDOW, 'scores', 'errors']
    assert [title.split(':')[0] for title in titles(figures['attention'])] == [
        'patch 1', 'SFP', 'as configured', 'patch 2', 'SFP', 'as configured']
    assert titles(figures['scores']) == ['image', 'class 3', 'class 0']
    assert [axis.images[0].get_array().shape[:2] for axis in figures['errors'].axes] == [(67, 83)] * 4


def test_the_middle_of_the_image_is_the_default_point(segmentor, image, monkeypatch):
    points = []
    monkeypatch.setattr(explanation, 'WindowInspection', lambda segmentor, inputs, given, shape: points.append((given, shape)))
    monkeypatch.setattr(explanation, 'window_figures', lambda *_: {})
    explain(segmentor, *image)
    assert points == [([(33, 41)], (67, 83))]


def test_the_largest_classes_are_scored_by_default(segmentor, image, monkeypatch):
    labels = np.repeat([5, 2, 8, 0, 1, 3, 4, 6, 7], [900, 800, 700, 600, 500, 400, 300, 200, 100])
    monkeypatch.setattr(explanation, 'window_figures', lambda *_: {})
    monkeypatch.setattr(explanation, 'predicted_labels', lambda *_: labels)
    assert titles(explain(segmentor, *image)['scores'])[1:] == [f'class {k}' for k in (5, 2, 8, 0, 1, 3, 4)][:MOST_CLASSES]


def test_figures_say_which_modules_are_off(segmentor, image):
    figures = explain(segmentor, *image)
    off = {name for name in WINDOW if '(off in this config: shown with its defaults)' in figures[name]._suptitle.get_text()}
    assert off == {'outliers', 'cls_similarity'}


def test_unknown_names_are_refused(segmentor, image):
    with pytest.raises(ValueError, match="class='clas 3' is unknown; known: class 0, class 1"):
        explain(segmentor, *image, classes=['clas 3'])
    with pytest.raises(ValueError, match="attention type='SCLAP' is unknown"):
        explain(segmentor, *image, model_types=['SCLAP'])


def dataset_config(name):
    return Config.fromfile(configs_dir() / '_base_' / 'datasets' / f'{name}.py').test_dataloader.dataset


@pytest.mark.parametrize(('name', 'classes', 'values', 'labels'), [
    ('demo_scenes', 16, [0, 3, 255, 15], [0, 3, -1, 15]), ('ade20k', 150, [0, 1, 150, 7], [-1, 0, 149, 6]),
    ('voc21', 21, [0, 20, 255, 7], [0, 20, -1, 7]), ('context59', 59, [0, 1, 59, 7], [-1, 0, 58, 6]),
    ('coco_object', 81, [0, 80, 255, 7], [0, 80, -1, 7]), ('context459', 459, [0, 65535, 255, 458], [0, -1, 255, 458]),
    ('ade20k_847', 847, [0, 255, 65535, 846], [0, 255, -1, 846])])
def test_truth_is_numbered_as_in_the_data_set(tmp_path, monkeypatch, name, classes, values, labels):
    monkeypatch.setenv('DATA_ROOT', str(tmp_path / 'not there'))
    kind = np.uint16 if max(values) > 255 else np.uint8
    Image.fromarray(np.array([values, values[::-1]], kind)).save(tmp_path / 'ground_truth.png')
    ground_truth = read_ground_truth(dataset_config(name), tmp_path / 'ground_truth.png', (2, 4), classes)
    assert ground_truth.tolist() == [labels, labels[::-1]]


def test_a_wrong_truth_is_refused(tmp_path):
    dataset = dataset_config('demo_scenes')

    def read(pixels, shape=(2, 3), count=16):
        Image.fromarray(pixels).save(tmp_path / 'ground_truth.png')
        return read_ground_truth(dataset, tmp_path / 'ground_truth.png', shape, count)

    labels = np.array([[0, 1, 2], [15, 16, 99]], np.uint8)
    with pytest.raises(ValueError, match=r'ground_truth.png has values that are no class of DemoScenesDataset: 16, 99'):
        read(labels)
    with pytest.raises(ValueError, match=r'ground_truth.png is no label map of the image: its shape is \(2, 3\), not \(3, 2\)'):
        read(labels, (3, 2))
    with pytest.raises(ValueError, match=r'its shape is \(2, 3, 3\)'):
        read(labels[..., None].repeat(3, 2))
    with pytest.raises(ValueError, match='the model has 17 classes and DemoScenesDataset 16'):
        read(labels, count=17)
    (tmp_path / 'ground_truth.png').write_text('no image')
    with pytest.raises(ValueError, match=r'cannot read label map .*ground_truth.png'):
        read_ground_truth(dataset, tmp_path / 'ground_truth.png', (2, 3), 16)
    with pytest.raises(FileNotFoundError, match=r'there is no label map .*nowhere.png'):
        read_ground_truth(dataset, tmp_path / 'nowhere.png', (2, 3), 16)
