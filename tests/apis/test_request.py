import pytest

from ovseg.apis.vocabulary import make_vocabulary
from ovseg.vocabulary import class_names

MODEL = dict(name_path=['wall, sky', 'cat', 'dog; puppy'], prob_thd=0.1, area_thd=0.2, bg_idx=0)
WITHOUT_BACKGROUND = dict(name_path=['cat', 'dog; puppy'])


def test_nothing_said_is_what_the_config_says():
    got = make_vocabulary(MODEL, None, None, None)
    assert got.names == ['background', 'cat', 'dog']
    assert got.synonyms == [['wall', 'sky'], ['cat'], ['dog', 'puppy']]
    assert (got.name_path, got.prob_thd, got.area_thd, got.bg_idx) == (MODEL['name_path'], 0.1, 0.2, 0)
    got = make_vocabulary(WITHOUT_BACKGROUND, None, None, None)
    assert (got.names, got.prob_thd, got.area_thd, got.bg_idx) == (['cat', 'dog'], 0.0, None, 0)


def test_the_background_of_a_config_is_called_so_wherever_it_stands():
    assert make_vocabulary({**MODEL, 'bg_idx': 2}, None, None, None).names == ['wall', 'cat', 'background']


def test_a_threshold_replaces_the_one_of_the_config():
    got = make_vocabulary(MODEL, None, None, 0.4)
    assert (got.prob_thd, got.area_thd) == (0.4, 0.2)
    assert make_vocabulary(MODEL, None, None, 0).prob_thd == 0


def test_own_classes_take_no_threshold_from_the_config():
    got = make_vocabulary(MODEL, ['red panda', 'sofa;couch'], None, None)
    assert got.names == ['red panda', 'sofa'] and got.synonyms == [['red panda'], ['sofa', 'couch']]
    assert (got.prob_thd, got.area_thd, got.bg_idx) == (0, None, 0)


@pytest.mark.parametrize('background', ['wall, sky', ['wall', 'sky'], 'wall; sky'])
def test_background_is_class_0(background):
    got = make_vocabulary(MODEL, ['cat', 'sofa, couch'], background, 0.3)
    assert got.names == ['background', 'cat', 'sofa']
    assert got.synonyms == class_names(got.name_path) == [['wall', 'sky'], ['cat'], ['sofa', 'couch']]
    assert (got.prob_thd, got.area_thd, got.bg_idx) == (0.3, None, 0)


def test_background_in_front_of_the_classes_of_the_config():
    got = make_vocabulary(WITHOUT_BACKGROUND, None, 'wall', None)
    assert got.names == ['background', 'cat', 'dog'] and got.prob_thd == 0


def test_background_in_front_of_a_bundled_list():
    got = make_vocabulary(MODEL, 'cityscapes', 'cupboard', None)
    assert got.synonyms == [['cupboard'], *class_names('cityscapes')]


def test_a_text_file(tmp_path):
    (tmp_path / 'words.txt').write_text('cat, kitten\ndog\n')
    assert make_vocabulary(MODEL, tmp_path / 'words.txt', None, None).synonyms == [['cat', 'kitten'], ['dog']]


def test_a_bundled_list_that_repeats_a_name():
    assert len(make_vocabulary(MODEL, 'coco_object_sclip', None, None).names) == 81


@pytest.mark.parametrize('model, classes', [(MODEL, ['cat']), (WITHOUT_BACKGROUND, None)])
def test_a_threshold_without_a_background_is_refused(model, classes):
    with pytest.raises(ValueError, match=r'threshold=0\.3 needs a background'):
        make_vocabulary(model, classes, None, 0.3)
    assert make_vocabulary(model, classes, None, 0).prob_thd == 0


@pytest.mark.parametrize('threshold', [-0.1, 1.1, True, float('nan'), 'high'])
def test_a_threshold_out_of_range_is_refused(threshold):
    with pytest.raises(ValueError, match=r'threshold=.* must be in \[0, 1\]'):
        make_vocabulary(MODEL, ['cat'], 'sky', threshold)


@pytest.mark.parametrize('classes, background, message', [
    ([], None, 'has no classes'), (['cat', ' '], None, 'class 1 of the class list has an empty name'),
    (['cat', 'Cat'], None, "'Cat' stands twice"), (['cat', 'sky'], 'wall, sky', "'sky' stands twice"),
    (['cat'], '', 'class 0 of the class list has an empty name'), (['cat'], [], 'class 0 of the class list has an empty name'),
    (['cat', 'Background'], 'sky', 'classes has one already'), ([7], None, 'class 0 of the class list is 7'),
    (7, None, 'must be a bundled class list'), (['cat'], 7, 'background=7 must be a string, or a list of them'),
    (['cat'], ['sky', None], r"background=\['sky', None\] must be a string"),
    (['cat'], b'sky', "background=b'sky' must be a string")])
def test_bad_words_are_refused(classes, background, message):
    with pytest.raises(ValueError, match=message):
        make_vocabulary(MODEL, classes, background, None)


def test_words_in_one_string_are_told_to_come_as_a_list():
    with pytest.raises(FileNotFoundError, match=r"'cat, dog' is neither .* Words come as a list: classes=\['cat'"):
        make_vocabulary(MODEL, 'cat, dog', None, None)
