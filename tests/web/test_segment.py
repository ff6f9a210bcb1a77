import re
import time
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from ovseg.apis import OVSegInferencer
from ovseg.config import merge_options
from ovseg.models.post_processors import CTD, GlobalDebias, OutlierSuppression, SelfAttnEnhancement
from ovseg.models.towers import loading
from ovseg.web import segment as module
from ovseg.web.segment import (
    KEPT,
    LONGEST_NAME,
    MOST_NAMES,
    Models,
    Segmented,
    Setting,
    TypedClasses,
    attention_at,
    config_text,
    deadline,
    legend,
    offered_methods,
    own_class_names,
    public,
    read_upload,
    segment,
    small,
)

GATED = Setting('Gated', True, False, False, 30, 0.0, False)
FULL = Setting('NACLIP', False, True, True, 7, 0.3, True)
WORDS = TypedClasses(['ladybug', 'grass; lawn', 'snow'], None, 0.0)


def test_setting_of_a_config_and_back():
    assert Setting.of(dict(image_encoder=dict(attention='gated', similarity={}))) == GATED
    model = dict(post_processors=[dict(type='OutlierSuppression', top_k=11), dict(type='GlobalDebias', factor=0.25)])
    assert Setting.of(model) == Setting('Gated', False, False, True, 11, 0.25, False)
    for setting in (FULL, GATED):
        assert Setting.of(with_options({}, setting)) == setting


def with_options(model, setting):
    """The model's config with the options of a setting."""
    cfg = Config(dict(model=dict(type='CLIPSegmentor', **model)))
    merge_options(cfg, setting.options(model, {}), 'the config')
    return cfg.model


def test_options_keep_what_the_config_says_of_a_module_but_not_of_another_attention():
    model = dict(image_encoder=dict(attention=dict(type='NACLIP', gaussian_std=3.0), cls_source='last_block'),
                 post_processors=['CTD', dict(type='OutlierSuppression', detector='norm', top_k=5)])
    full, gated = (with_options(model, setting) for setting in (FULL, GATED))
    assert full.image_encoder == dict(attention=dict(type='NACLIP', gaussian_std=3.0), cls_source='last_block')
    assert dict(type='OutlierSuppression', detector='norm', top_k=7) in full.post_processors
    assert gated.image_encoder == dict(attention=dict(type='Gated'), cls_source='last_block', similarity={})
    assert gated.post_processors == []


def test_models_have_what_was_switched_on(models):
    model = models.get(FULL).model
    modules = model.post_processors.modules
    assert [type(item) for item in modules] == [SelfAttnEnhancement, OutlierSuppression, GlobalDebias, CTD]
    assert modules[1].top_k == 7
    assert model.image_encoder.similarity is None
    model = models.get(GATED).model
    assert model.post_processors.modules == []
    assert model.image_encoder.similarity is not None


def test_a_checkbox_is_flipped_without_loading_clip_again(models, noise, monkeypatch):
    monkeypatch.setattr(loading, 'load_clip', pytest.fail)
    models.get.cache_clear()
    off, on = (models.get(GATED._replace(ctd=ctd)) for ctd in (False, True))
    assert [len(inferencer.model.post_processors.modules) for inferencer in (off, on)] == [0, 1]
    assert on.model.tower is off.model.tower and on.model.text_encoder is off.model.text_encoder
    assert segment(on, noise, WORDS).painted.shape == noise.shape


def test_each_method_gives_the_labels_of_its_config_without_loading_clip_again(models, noise, monkeypatch):
    fresh = {name: OVSegInferencer(f'{name[:-len(" (method)")]}_tiny-clip', device='cpu',
                                   cfg_options={'model.prompt_templates': ['a photo of {}.']}) for name in models.methods}
    monkeypatch.setattr(loading, 'load_clip', pytest.fail)
    models.get.cache_clear()
    for name, expected in fresh.items():
        inferencer = models.get(FULL._replace(method=name))
        found, wanted = (one(noise, WORDS.classes)['predictions'][0] for one in (inferencer, expected))
        np.testing.assert_array_equal(found, wanted)
        assert len(Config.fromstring(config_text(inferencer, WORDS), '.py').model.image_encoder) > 0
    assert len(fresh) >= 8


def test_settings_of_a_config_of_another_method():
    other = Models('proxyclip_tiny-clip', device='cpu')
    assert Setting.of(other.cfg.model).method == 'as configured'
    assert type(other.get(Setting.of(other.cfg.model)).model.image_encoder).__name__ == 'ProxyCLIPEncoder'
    full = other.get(FULL).model
    assert type(full.image_encoder).__name__ == 'LastBlockEncoder' and len(full.post_processors.modules) == 4
    assert other.get(FULL._replace(method='scclip (method)')).model.post_processors.modules == []


def test_only_methods_that_fit_the_clip_and_this_machine_are_offered():
    named = {name[:-len(' (method)')] for name in offered_methods(OVSegInferencer(
        'scclip_vit-b16', device='cpu', cfg_options={'model.clip.pretrained': None}))}
    assert {'clip', 'naclip', 'proxyclip', 'lposs_plus', 'scclip', 'resclip'} <= named
    assert 'corrclip' not in named  # it has no region maps


def test_the_last_models_are_kept_and_no_more(monkeypatch):
    built = []
    inferencer = SimpleNamespace(cfg=Config(dict(model={})), variant=lambda options: built.append(options) or object())
    monkeypatch.setattr(module, 'OVSegInferencer', lambda *args, **kwargs: inferencer)
    monkeypatch.setattr(module, 'offered_methods', lambda inferencer: {})
    models = Models()
    settings = [GATED._replace(debias=number / 100) for number in range(KEPT + 1)]
    first = models.get(settings[0])
    for setting in (settings[1], settings[0]):
        models.get(setting)
    assert models.get(settings[0]) is first and len(built) == 2
    for setting in settings[1:]:
        models.get(setting)
    assert models.get(settings[0]) is not first


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
        np.testing.assert_allclose(result.painted[labels == index], mixed, atol=0.51)
    assert result.seconds > 0


def test_background_is_black_and_takes_what_is_under_the_threshold(models, scene):
    image = cv2.imread(str(scene))
    words = TypedClasses(['ladybug', 'grass'], 'snow, gravel', 0.9)
    result = segment(models.get(GATED), image, words)
    assert result.areas['background'] > segment(models.get(GATED), image, words._replace(threshold=0.0)).areas['background']
    assert list(result.colours) == ['background', 'ladybug', 'grass']
    assert result.colours['background'] == [0, 0, 0]
    black = models.get(GATED)(scene, words.classes, background=words.background, threshold=0.9)['predictions'][0] == 0
    np.testing.assert_allclose(result.painted[black], 0.35 * image[black][:, ::-1], atol=0.51)


def test_five_hundred_names(models, noise):
    words = TypedClasses.parse(', '.join(f'thing {number}' for number in range(500)), '', 0.0)
    result = segment(models.get(GATED), noise, words)
    assert len(result.colours) == 500
    assert legend({'area': result}).count('swatch') == len(result.areas) < 500


def test_large_images_are_made_small_for_the_page():
    pixels = np.zeros((2048, 512, 3), np.uint8)
    assert small(pixels).shape == (1024, 256, 3)
    assert small(pixels[:1024]).shape == (1024, 512, 3)
    assert small(np.zeros((5000, 1), np.uint8)).shape == (1024, 1)
    labels = np.repeat([3, 700], 1500).astype(np.uint16)[:, None].repeat(7, axis=1)
    assert set(np.unique(small(labels, cv2.INTER_NEAREST))) == {3, 700}


def test_uploads_are_read_and_refused_by_name(tmp_path, image_file, noise):
    np.testing.assert_array_equal(read_upload(str(image_file), 61 * 83), noise[..., ::-1])
    text, cut = tmp_path / 'text.jpg', tmp_path / 'cut.png'
    text.write_text('no image')
    cut.write_bytes(image_file.read_bytes()[:2000])
    for path, most, message in ((text, 10 ** 6, 'text.jpg is no image'), (cut, 10 ** 6, r'cannot read cut\.png'),
                                (image_file, 61 * 83 - 1, r'noise\.png is too large')):
        with pytest.raises(ValueError, match=message) as caught:
            read_upload(str(path), most)
        assert str(tmp_path) not in str(caught.value)
    with pytest.raises(ValueError, match='there is no image'):
        read_upload(None, 10 ** 6)


@pytest.mark.parametrize('path', ['/deleted/by/gradio/cat.jpg', 'http://127.0.0.1:9/cat.jpg'])
def test_what_is_not_on_the_server_is_named_without_its_folder_and_never_fetched(path):
    with pytest.raises(ValueError, match=r'^cat\.jpg is not on the server any more: drop it again$'):
        read_upload(path, 10 ** 6)


@pytest.mark.parametrize(('message', 'shown'), [
    ("[Errno 13] Permission denied: '/srv/some/where/a.png'", '[Errno 13] Permission denied: &#x27;a.png&#x27;'),
    ('cannot read /a.png: no', 'cannot read /a.png: no'), ('cat/dog/cow <b>', 'cat/dog/cow &lt;b&gt;'),
    ('a\nb\x1b[31m', 'a\\nb\\x1b[31m'), ('猫 is fine', '猫 is fine')])
def test_messages_for_the_page(message, shown):
    assert public(message) == shown


def test_a_model_is_stopped_and_others_are_not():
    layer = torch.nn.Linear(3, 5)
    with pytest.raises(ValueError, match=r'this takes more than 0\.01 seconds'), deadline(0.01):
        layer(torch.zeros(2, 3))
        time.sleep(0.02)
        layer(torch.zeros(2, 3))
    with deadline(300):
        layer(torch.zeros(2, 3))
    assert layer(torch.zeros(2, 3)).shape == (2, 5)


def result(areas, colours, seconds=1.234):
    return Segmented(np.zeros((2, 3, 3), np.uint8), areas, colours, seconds)


def test_legend_has_each_class_of_either_column_and_no_markup_of_theirs():
    colours = {'a<b>': [1, 2, 3], 'c': [4, 5, 6], 'd': [7, 8, 9]}
    text = legend({'A': result({'c': 0.9996, 'a<b>': 0.0004}, colours), 'B': result({'a<b>': 1.0}, colours, 0.5)})
    rows = [re.findall(r'<t[dh]>(.*?)</t[dh]>', row) for row in re.findall(r'<tr>(.*?)</tr>', text)]
    assert rows == [['class', 'A', 'B'], ['<span class="swatch" style="background:rgb(4, 5, 6)"></span>c', '100.0%', '0.0%'],
                    ['<span class="swatch" style="background:rgb(1, 2, 3)"></span>a&lt;b&gt;', '< 0.1%', '100.0%'],
                    ['time taken', '1.23 s', '0.50 s']]


@pytest.mark.parametrize('words', [WORDS, WORDS._replace(background='gravel, sky', threshold=0.4)])
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
