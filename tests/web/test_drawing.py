import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovseg.apis.painting import write_label_map
from ovseg.web.drawing import Drawing, Segmented, legend, write_classes, write_overlay
from ovseg.web.uploads import Upload


def result(areas, colours, seconds=1.234, background_words=()):
    words = dict(class_list='mine', background_words=list(background_words))
    return Segmented(np.zeros((2, 3, 3), np.uint8), np.zeros((2, 3), np.uint8), areas, colours, seconds, words)


def test_legend_has_each_class_of_either_column_and_no_markup_of_theirs():
    colours = {'a<b>': [1, 2, 3], 'c': [4, 5, 6], 'd': [7, 8, 9]}
    text = legend({'A': result({'c': 0.9996, 'a<b>': 0.0004}, colours), 'B': result({'a<b>': 1.0}, colours, 0.5)})
    rows = [re.findall(r'<t[dh]>(.*?)</t[dh]>', row) for row in re.findall(r'<tr>(.*?)</tr>', text)]
    assert rows == [['class', 'A', 'B'], ['<span class="swatch" style="background:rgb(4, 5, 6)"></span>c', '100.0%', '0.0%'],
                    ['<span class="swatch" style="background:rgb(1, 2, 3)"></span>a&lt;b&gt;', '< 0.1%', '100.0%'],
                    ['time taken', '1.23 s', '0.50 s']]


def test_a_note_stands_above_the_legend_without_markup():
    text = legend({'area': result({'a': 1.0}, {'a': [1, 2, 3]})}, '<i>smaller</i>')
    assert text.startswith('<p class="note">&lt;i&gt;smaller&lt;/i&gt;</p><table')
    assert 'note' not in legend({'area': result({'a': 1.0}, {'a': [1, 2, 3]})})


def test_background_words_stand_above_the_legend_without_markup():
    column = result({'a': 1.0}, {'a': [1, 2, 3]}, background_words=['sea', '<b>'])
    assert legend({'A': column, 'B': column}).startswith('<p class="note">background: sea, &lt;b&gt;</p><table')


COLOURS = {'cat': [200, 0, 0], 'sofa': [0, 100, 0], 'grass': [0, 0, 50]}


@pytest.fixture
def drawn():
    """Labels that are twice as long as the image on the page, which is grey."""
    labels = np.repeat(np.repeat(np.array([[0, 0, 1, 2, 2], [1, 1, 1, 2, 2], [0, 2, 2, 2, 1]], np.uint8), 2, 0), 2, 1)
    labels = np.tile(labels, (1, 205))  # 6 x 2050
    return Segmented(np.full((3, 1024, 3), 100, np.uint8), labels, {'grass': 0.5, 'sofa': 0.3, 'cat': 0.2}, COLOURS, 1.0,
                     dict(class_list='mine', class_list_sha256='0f', background_words=[]))


@pytest.mark.parametrize(('opacity', 'shown'), [
    (0.0, None), (0.25, None), (1.0, ['sofa']), (0.5, []), (0.5, ['cat', 'unknown'])])
def test_painted_with_any_opacity_and_classes(drawn, opacity, shown):
    painted = drawn.painted(opacity, shown)
    labels = drawn.for_the_page().labels
    assert labels.shape == painted.shape[:2] == (3, 1024)
    for index, (name, colour) in enumerate(COLOURS.items()):
        seen = shown is None or name in shown
        expected = [round((1 - opacity) * 100 + opacity * channel) if seen else 100 for channel in colour]
        assert (labels == index).any() and (painted[labels == index] == expected).all()
    np.testing.assert_array_equal(drawn.for_the_page().painted(opacity, shown), painted)


def test_files_of_a_result(drawn, tmp_path):
    labels, classes, picture = (tmp_path / name for name in ('labels.png', 'classes.json', 'overlay.png'))
    write_label_map(drawn.labels, list(COLOURS.values()), labels)
    write_classes(drawn, Upload(np.zeros((6, 2050, 3), np.uint8), (13, 4441)), classes)
    write_overlay(drawn, drawn.painted(), ['cat', 'sofa'], picture)
    with Image.open(labels) as image:
        assert image.mode == 'P' and image.getpalette()[:9] == [200, 0, 0, 0, 100, 0, 0, 0, 50]
        np.testing.assert_array_equal(np.asarray(image), drawn.labels)
        np.testing.assert_array_equal(np.asarray(image.convert('RGB')), np.array(list(COLOURS.values()))[drawn.labels])
    content = json.loads(classes.read_text())
    assert (content['class_list'], content['class_list_sha256'], content['background_words']) == ('mine', '0f', [])
    assert (content['label_map_size'], content['image_size']) == ([2050, 6], [4441, 13])
    assert [(item['id'], item['name'], item['colour']) for item in content['classes']] == [
        (index, name, colour) for index, (name, colour) in enumerate(COLOURS.items())]
    assert [item['pixels'] for item in content['classes']] == [(drawn.labels == index).sum() for index in range(3)]
    assert sum(item['area'] for item in content['classes']) == pytest.approx(1)
    with Image.open(picture) as image:
        pixels = np.asarray(image)
    np.testing.assert_array_equal(pixels[:3, :1024], drawn.painted())
    below = {tuple(colour) for colour in pixels[3:].reshape(-1, 3).tolist()}
    assert {(200, 0, 0), (0, 100, 0)} <= below and (0, 0, 50) not in below


def test_an_overlay_without_classes_is_the_image(drawn, tmp_path):
    write_overlay(drawn, drawn.painted(shown=[]), [], tmp_path / 'overlay.png')
    with Image.open(tmp_path / 'overlay.png') as image:
        np.testing.assert_array_equal(np.asarray(image), drawn.image)


def test_redrawing_keeps_the_last_two_drawings_of_one_folder(drawn, tmp_path):
    drawing = Drawing(drawn.for_the_page(), tmp_path / 'result', 'a_overlay_b')
    drawing.folder.mkdir()
    labels = drawing.folder / 'a_overlay_b_labels.png'
    labels.write_bytes(b'')
    paths = [drawing.redrawn(share / 7, ['cat']) for share in range(7)]
    assert len(set(paths)) == 7
    assert sorted(map(str, drawing.folder.iterdir())) == sorted([str(labels), *paths[-1], *paths[-2]])
    labels.unlink()
    for path in (*paths[-1], *paths[-2]):
        Path(path).unlink()
    drawing.folder.rmdir()  # as if it was the oldest
    with Image.open(drawing.redrawn(1.0, [])[1]) as image:
        np.testing.assert_array_equal(np.asarray(image), drawn.image)
