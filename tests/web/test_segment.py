import cv2
import numpy as np
import pytest
from mmengine.config import Config

from ovseg.apis import OVSegInferencer
from ovseg.vocabulary.word_record import word_record
from ovseg.web import segment as module
from ovseg.web.drawing import legend
from ovseg.web.segment import LONGEST_NAME, MOST_NAMES, TypedClasses, attention_at, config_text, own_class_names, segment
from ovseg.web.settings import Setting

GATED = Setting('Gated', True, False, False, 30, 0.0, False)
FULL = Setting('NACLIP', False, True, True, 7, 0.3, True)
WORDS = TypedClasses(['ladybug', 'grass; lawn', 'snow'], None, 0.0)


@pytest.mark.parametrize('text, classes', [
    ('cat', ['cat']), ('cat, sofa; couch\n\n grass ,', ['cat', 'sofa; couch', 'grass']), ('猫, 🐈', ['猫', '🐈'])])
def test_names_as_typed(text, classes):
    assert TypedClasses.parse(text, ' ', 0.0) == TypedClasses(classes, None, 0.0)
    assert TypedClasses.parse(text, ' wall, sky ', 0.5) == TypedClasses(classes, 'wall, sky', 0.5)


@pytest.mark.parametrize('text', ['', ' \n', ' , ,'])
def test_no_names_are_refused(text):
    with pytest.raises(ValueError, match='there are no class names'):
        TypedClasses.parse(text, '', 0.0)


def test_as_many_and_as_long_names_as_allowed():
    words = [f'{number:0{LONGEST_NAME}d}' for number in range(MOST_NAMES - 1)]
    assert len(TypedClasses.parse(','.join(words), '', 0.0).classes) == MOST_NAMES - 1
    for separator in (',', ';', '\n'):
        with pytest.raises(ValueError, match='1001 class names are too many: a request may have 1000'):
            TypedClasses.parse(separator.join([*words, 'one']), 'more', 0.0)
    with pytest.raises(ValueError, match=r'^.{1,100} has 101 characters: a class name may have 100$'):
        TypedClasses.parse('cat; ' + 'a' * (LONGEST_NAME + 1), '', 0.0)
    with pytest.raises(ValueError, match='has 101 characters'):
        TypedClasses.parse('cat', 'b' * (LONGEST_NAME + 1), 0.5)


@pytest.mark.parametrize('letter', ['\0', '\x1b', '\u200b', '\u202e', '\r', '\ufeff'])
def test_names_with_characters_that_cannot_be_seen(letter):
    for typed in ((f'a{letter}b', ''), ('cat', f'a{letter}b')):
        with pytest.raises(ValueError, match='has characters that cannot be seen') as caught:
            TypedClasses.parse(*typed, 0.0)
        assert str(caught.value).isprintable()


@pytest.mark.parametrize('words, message', [
    (WORDS._replace(classes=['cat', 'dog', 'Cat']), 'stands twice'), (WORDS._replace(threshold=0.5), 'needs a background')])
def test_names_that_do_not_go_together_are_refused(models, noise, words, message):
    with pytest.raises(ValueError, match=message):
        segment(models.get(GATED), noise, words)


def test_result_is_that_of_the_inferencer(models, scene):
    image = cv2.imread(str(scene))
    result = segment(models.get(GATED), image, WORDS)
    expected = models.get(GATED)(scene, WORDS.classes)
    labels = expected['predictions'][0]
    assert result.areas == expected['areas'][0]
    assert sum(result.areas.values()) == pytest.approx(1)
    for index, name in enumerate(['ladybug', 'grass', 'snow']):
        mixed = 0.35 * image[labels == index][:, ::-1] + 0.65 * np.array(result.colours[name])
        np.testing.assert_allclose(result.painted()[labels == index], mixed, atol=0.51)
    assert result.seconds > 0


def test_background_is_black_and_takes_what_is_under_the_threshold(models, scene):
    image = cv2.imread(str(scene))
    words = TypedClasses(['ladybug', 'grass'], 'snow, gravel', 0.9)
    result = segment(models.get(GATED), image, words)
    assert result.areas['background'] > segment(models.get(GATED), image, words._replace(threshold=0.0)).areas['background']
    assert list(result.colours) == ['background', 'ladybug', 'grass']
    assert result.colours['background'] == [0, 0, 0]
    black = models.get(GATED)(scene, words.classes, background=words.background, threshold=0.9)['predictions'][0] == 0
    np.testing.assert_allclose(result.painted()[black], 0.35 * image[black][:, ::-1], atol=0.51)


def test_five_hundred_names(models, noise):
    words = TypedClasses.parse(', '.join(f'thing {number}' for number in range(500)), '', 0.0)
    result = segment(models.get(GATED), noise, words)
    assert len(result.colours) == 500
    assert legend({'area': result}).count('swatch') == len(result.areas) < 500


def test_automatic_background_words_are_those_of_the_inferencer(models, scene):
    result = segment(models.get(GATED), cv2.imread(str(scene)), WORDS._replace(background='auto'))
    assert list(result.colours) == ['background', 'ladybug', 'grass', 'snow']
    assert result.words == word_record(models.get(GATED).model.words) and result.words['background_words']


@pytest.mark.parametrize('words', [WORDS, WORDS._replace(background='gravel, sky', threshold=0.4),
                                   WORDS._replace(background='auto')])
def test_config_text_makes_the_same_model(models, scene, words):
    cfg = models.cfg.copy()
    cfg.model = Config.fromstring(config_text(models.get(FULL), words), '.py').model
    again = OVSegInferencer(cfg, device='cpu')(scene)
    expected = models.get(FULL)(scene, words.classes, background=words.background, threshold=words.threshold)
    np.testing.assert_array_equal(again['predictions'][0], expected['predictions'][0])
    assert Setting.of(cfg.model) == FULL


def test_config_text_has_no_threshold_of_the_config_that_the_page_has_not_used(models):
    inferencer = models.get(GATED).variant({'model.decoder.area_thd': 0.3, 'model.decoder.logit_scale': 7})
    decoder = Config.fromstring(config_text(inferencer, WORDS), '.py').model.decoder
    assert decoder == dict(logit_scale=7, prob_thd=0.0, bg_idx=0)


@pytest.mark.parametrize('place, pixel', [((0.999, 0.0), (383, 0)), ((0.25, 0.5), (96, 320))])
def test_attention_of_the_patch_under_a_place(models, scene, monkeypatch, place, pixel):
    monkeypatch.setattr(module, 'attention_figure', lambda *arguments: arguments)
    image = cv2.imread(str(scene))
    window, maps, [(row, column)] = attention_at(models.get(GATED), image, place)
    assert list(maps) == ['Vanilla', 'as configured']
    height, width = (size // cells for size, cells in zip(window.shape, maps['Vanilla'].shape[1:]))
    patch = window[row * height:(row + 1) * height, column * width:(column + 1) * width]
    assert (patch == image[pixel][::-1]).all(axis=-1).any()


def test_own_names(models):
    assert own_class_names(dict(vocabulary=dict(names=['cat', 'sofa, couch']))) == 'cat, sofa; couch'
    assert own_class_names(models.cfg.model).startswith('grass, ')
    assert own_class_names(dict(vocabulary=dict(names='ade20k'))) == ''
