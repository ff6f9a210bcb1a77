import pytest

from ovseg.apis.request import make_request
from ovseg.models.decoder import Decoder
from ovseg.vocabulary import Vocabulary, read_class_list

NAMES = ['wall, sky', 'cat', 'dog; puppy']
MODEL = Vocabulary(NAMES, 'plain'), Decoder(logit_scale=7, prob_thd=0.1, area_thd=0.2, bg_idx=0)
WITHOUT_BACKGROUND = Vocabulary(['cat', 'dog; puppy']), Decoder()


def test_nothing_said_is_what_the_config_says():
    got = make_request(*MODEL, None, None, None)
    assert got.names == ['background', 'cat', 'dog']
    assert got.vocabulary.synonyms == [['wall', 'sky'], ['cat'], ['dog', 'puppy']]
    assert (got.vocabulary, got.decoder) == MODEL
    got = make_request(*WITHOUT_BACKGROUND, None, None, None)
    assert got.names == ['cat', 'dog'] and (got.vocabulary, got.decoder) == WITHOUT_BACKGROUND


def test_the_background_of_a_config_is_called_so_wherever_it_stands():
    assert make_request(MODEL[0], Decoder(prob_thd=0.1, bg_idx=2), None, None, None).names == ['wall', 'cat', 'background']


def test_a_threshold_replaces_the_one_of_the_config():
    got = make_request(*MODEL, None, None, 0.4)
    assert got.decoder == Decoder(logit_scale=7, prob_thd=0.4, area_thd=0.2)
    assert make_request(*MODEL, None, None, 0).decoder.prob_thd == 0


def test_own_classes_take_no_threshold_from_the_config():
    got = make_request(*MODEL, ['red panda', 'sofa;couch'], None, None)
    assert got.names == ['red panda', 'sofa'] and got.vocabulary.synonyms == [['red panda'], ['sofa', 'couch']]
    assert got.decoder == Decoder(logit_scale=7, prob_thd=0, area_thd=None)


@pytest.mark.parametrize('background', ['wall, sky', ['wall', 'sky'], 'wall; sky'])
def test_background_is_class_0(background):
    got = make_request(*MODEL, ['cat', 'sofa, couch'], background, 0.3)
    assert got.names == ['background', 'cat', 'sofa']
    assert got.vocabulary.synonyms == read_class_list(got.vocabulary.names) == [['wall', 'sky'], ['cat'], ['sofa', 'couch']]
    assert got.decoder == Decoder(logit_scale=7, prob_thd=0.3, area_thd=None)


def test_background_in_front_of_the_classes_of_the_config():
    got = make_request(*WITHOUT_BACKGROUND, None, 'wall', None)
    assert got.names == ['background', 'cat', 'dog'] and got.decoder.prob_thd == 0


def test_background_in_front_of_a_bundled_list():
    got = make_request(*MODEL, 'cityscapes', 'cupboard', None)
    assert got.vocabulary.synonyms == [['cupboard'], *read_class_list('cityscapes')]


def test_a_text_file(tmp_path):
    (tmp_path / 'words.txt').write_text('cat, kitten\ndog\n')
    assert make_request(*MODEL, tmp_path / 'words.txt', None, None).vocabulary.synonyms == [['cat', 'kitten'], ['dog']]


def test_a_bundled_list_that_repeats_a_name():
    assert len(make_request(*MODEL, 'coco_object_sclip', None, None).names) == 81


@pytest.mark.parametrize('model, classes', [(MODEL, ['cat']), (WITHOUT_BACKGROUND, None)])
def test_a_threshold_without_a_background_is_refused(model, classes):
    with pytest.raises(ValueError, match=r'threshold=0\.3 needs a background'):
        make_request(*model, classes, None, 0.3)
    assert make_request(*model, classes, None, 0).decoder.prob_thd == 0


@pytest.mark.parametrize('threshold', [-0.1, 1.1, True, float('nan'), 'high'])
def test_a_threshold_out_of_range_is_refused(threshold):
    with pytest.raises(ValueError, match=r'threshold=.* must be in \[0, 1\]'):
        make_request(*MODEL, ['cat'], 'sky', threshold)


@pytest.mark.parametrize('classes, background, message', [
    ([], None, 'has no classes'), (['cat', ' '], None, 'class 1 of the class list has an empty name'),
    (['cat', 'Cat'], None, "'Cat' stands twice"), (['cat', 'sky'], 'wall, sky', "'sky' stands twice"),
    (['cat'], '', 'class 0 of the class list has an empty name'), (['cat'], [], 'class 0 of the class list has an empty name'),
    (['cat', 'Background'], 'sky', 'classes has one already'), ([7], None, 'class 0 of the class list is 7'),
    (7, None, 'must be a bundled class list'), (['cat'], 7, 'background=7 must be a string, or a list of them'),
    (['cat'], ['sky', None], r"background=\['sky', None\] must be a string"),
    (['cat'], b'sky', "background=b'sky' must be a string")])
def test_bad_names_are_refused(classes, background, message):
    with pytest.raises(ValueError, match=message):
        make_request(*MODEL, classes, background, None)


def test_names_in_one_string_are_told_to_come_as_a_list():
    with pytest.raises(FileNotFoundError, match=r"'cat, dog' is neither .* Class names are given as a list, "
                                                r"\['cat', 'sofa; couch'\], or on the command line as 'cat, sofa; couch'$"):
        make_request(*MODEL, 'cat, dog', None, None)


def test_confidence_and_rejection_of_a_call():
    request = make_request(*WITHOUT_BACKGROUND, None, None, None)
    assert request.with_confidence(False, None) == request and request.with_confidence(0, None) == request
    assert request.with_confidence(True, None) == request._replace(decoder=Decoder(with_confidence=True))
    assert request.with_confidence(16, 0.3) == request._replace(decoder=Decoder(with_confidence=True, reject=0.3),
                                                                confidence_bits=16)
    with pytest.raises(ValueError, match=r"confidence=12 is unknown; known: 0, 8, 16"):
        request.with_confidence(12, None)
    with pytest.raises(ValueError, match=r'reject=1.5 must be in \[0, 1\]'):
        request.with_confidence(False, 1.5)
