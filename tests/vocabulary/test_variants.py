import random

import pytest

from ovseg.vocabulary import read_class_list
from ovseg.vocabulary.variants import draw_names, make_variant, plain_names, plural, read_synonyms, with_article

CLASSES = ('background', 'Traffic  Light', 'sofa, couch', 'bus', 'apple')
SYNONYMS = [['background', 'sky', 'wall'], ['traffic light'], ['sofa', 'couch'], ['bus'], ['apple']]


@pytest.mark.parametrize('text, names, background', [
    ('plain', ['background', 'Traffic Light', 'sofa', 'bus', 'apple'], None),
    ('auto', ['background', 'Traffic Light', 'sofa', 'bus', 'apple'], 'auto'),
    ('lower', ['background', 'traffic light', 'sofa', 'bus', 'apple'], None),
    ('plural', ['background', 'Traffic Lights', 'sofas', 'buses', 'apples'], None),
    ('article', ['background', 'a Traffic Light', 'a sofa', 'a bus', 'an apple'], None),
    ('no-background', ['background', 'traffic light', 'sofa, couch', 'bus', 'apple'], None),
    ('voc21', 'voc21', None)])
def test_the_words_of_a_variant(text, names, background):
    classes = plain_names(CLASSES) if text != 'voc21' else [names[0] for names in read_class_list('voc21')]
    assert make_variant(text, classes, SYNONYMS) == (names, background)
    if text != 'voc21':
        assert make_variant(text, CLASSES, SYNONYMS) == (names, background)
        read_class_list(names)


@pytest.mark.parametrize('name, expected', [
    ('dog', 'dogs'), ('glass', 'glasses'), ('bush', 'bushes'), ('bench', 'benches'), ('box', 'boxes'), ('sky', 'skies'),
    ('toy', 'toys'), ('stairs', 'stairs'), ('person', 'people'), ('dining table', 'dining tables'), ('sheep', 'sheep'),
    ('potted plant', 'potted plants'), ('bookshelf', 'bookshelfs')])
def test_plural(name, expected):
    assert plural(name) == expected


def test_article():
    assert [with_article(name) for name in ('dog', 'Egg', 'umbrella')] == ['a dog', 'an Egg', 'an umbrella']


@pytest.fixture
def synonyms(tmp_path):
    def write(text, name='synonyms.txt'):
        path = tmp_path / name
        path.write_text(text)
        return path
    return write


def test_a_draw_takes_one_name_of_each_class_by_its_seed(synonyms):
    path = synonyms('SOFA: couch, settee; sofa\n\nbus:  coach ,bus\n')
    found = read_synonyms(path, ['wall', 'sofa', 'bus'])
    assert found == {'sofa': ['couch', 'settee', 'sofa'], 'bus': ['coach', 'bus']}
    draws = [make_variant(f'draw:{path}:{seed}', ['wall', 'sofa', 'bus'], []).names for seed in range(31)]
    assert draws == [make_variant(f'draw:{path}:{seed}', ['wall', 'sofa', 'bus'], []).names for seed in range(31)]
    assert {names[0] for names in draws} == {'wall'}
    assert {names[1] for names in draws} == {'couch', 'settee', 'sofa'} and {names[2] for names in draws} == {'coach', 'bus'}


def test_a_draw_is_that_of_pythons_generator():
    generator = random.Random(7)
    expected = [generator.choice(names) for names in (['a'], ['b', 'c', 'd'], ['e', 'f'])]
    assert draw_names(['a', 'b', 'e'], {'b': ['b', 'c', 'd'], 'e': ['e', 'f']}, 7) == expected


@pytest.mark.parametrize('text, message', [
    ('wall: wall\nsoffa: couch', "line 2 of synonyms file .* names the class 'soffa', which is not in .*did you mean 'sofa'"),
    ('tram: train', "line 1 .* names the class 'tram', which is not in the class list$"),
    ('sofa: couch\nSofa : settee', "line 2 .* has the class 'sofa' again"),
    ('sofa: couch\nbus: Couch', "line 2 .* gives 'bus' the name 'Couch', which is also a name of 'sofa'"),
    ('sofa: WALL', "line 1 .* gives 'sofa' the name 'WALL', which is also a name of 'wall'"),
    ('sofa: couch,  Couch', "'Couch' stands twice"),
    ('sofa', "line 1 .* is 'sofa'; it must be a class and its names"),
    ('sofa:', "line 1 .* is 'sofa:'; it must be a class and its names"),
    ('sofa: couch,', 'empty name')])
def test_a_wrong_synonyms_file_is_named(text, message, synonyms):
    path = synonyms(text)
    with pytest.raises(ValueError, match=message) as error:
        read_synonyms(path, ['wall', 'sofa', 'bus'])
    assert '\n' not in str(error.value) and 'synonyms.txt' in str(error.value)


@pytest.mark.parametrize('text, classes, message', [
    ('auto', ['sky', 'wall'], 'vocabulary=auto needs a class called background, and the data set has none'),
    ('no-background', ['sky', 'wall'], 'vocabulary=no-background needs a class called background'),
    ('voc21', ['sky', 'wall'], "vocabulary='voc21' has 21 classes, and the data set has 2"),
    ('plural', ['glass', 'glasses'], "vocabulary=plural gives the classes 'glass' and 'glasses' the same name, 'glasses'"),
    ('plain', ['sky', ' Sky '], "vocabulary=plain gives the classes 'sky' and 'Sky' the same name, 'Sky'"),
    ('no-background', ['sky', 'wall', 'background'], "config's list has 2 classes, and the data set has 3"),
    ('draw:x.txt', ['sky'], "vocabulary='draw:x.txt' must be draw:FILE:SEED"),
    ('draw:x.txt:-1', ['sky'], 'must be draw:FILE:SEED')])
def test_variants_that_cannot_be_made(text, classes, message):
    with pytest.raises(ValueError, match=message):
        make_variant(text, classes, [[name] for name in classes[:2]])


def test_unknown_variants_are_answered_with_the_known_ones():
    with pytest.raises(FileNotFoundError, match=r"vocabulary='plian' is unknown; known: official, .*draw:FILE:SEED.*voc21"):
        make_variant('plian', ['sky'], [['sky']])


def test_a_file_is_a_class_list_unless_a_line_has_a_class_and_a_colon(synonyms):
    assert make_variant(str(synonyms('sky\nwall: brick')), ['a', 'b'], []).names == str(synonyms('sky\nwall: brick'))
    path = str(synonyms('sky: sky, heaven, air\nwall: brick, masonry\n'))
    drawn = make_variant(path, ['sky', 'wall'], [])
    assert drawn == make_variant(f'draw:{path}:0', ['sky', 'wall'], [])
    assert drawn.names[0] in ('sky', 'heaven', 'air') and drawn.names[1] in ('brick', 'masonry')
    for wrong in ('sky heaven\nwall: brick', 'sky:\nwall: brick'):  # not a class list with the name "wall: brick"
        with pytest.raises(ValueError, match=r'line 1 of synonyms file .* must be a class and its names'):
            make_variant(str(synonyms(wrong)), ['sky', 'wall'], [])
    with pytest.raises(ValueError, match='is empty; it must have lines such as'):
        make_variant(f'draw:{synonyms("")}:0', ['sky', 'wall'], [])
