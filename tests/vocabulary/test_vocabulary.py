import copy
import dataclasses
import pickle

import pytest

from ovseg.vocabulary import Vocabulary, bundled_class_lists, class_lists, read_class_list
from ovseg.vocabulary.prompt_templates import PROMPT_TEMPLATES

NAMES = ['red  panda; panda', 'sea', 'grass, lawn; meadow']


@pytest.mark.parametrize('names', [NAMES, *bundled_class_lists()], ids=str)
def test_names_and_their_classes_are_those_of_a_loop(names):
    vocabulary = Vocabulary(names)
    found = iter(zip(vocabulary.all_names, vocabulary.class_of_name))
    for index, synonyms in enumerate(read_class_list(names)):
        assert vocabulary.class_names[index] == synonyms[0]
        for name in synonyms:
            assert next(found) == (name, index)
    assert next(found, None) is None and len(vocabulary.all_names) == len(vocabulary.class_of_name)


def test_three_classes_by_hand():
    vocabulary = Vocabulary(NAMES)
    assert vocabulary.synonyms == [['red panda', 'panda'], ['sea'], ['grass', 'lawn', 'meadow']]
    assert vocabulary.class_names == ['red panda', 'sea', 'grass']
    assert vocabulary.all_names == ['red panda', 'panda', 'sea', 'grass', 'lawn', 'meadow']
    assert vocabulary.class_of_name == [0, 0, 1, 2, 2, 2]


@pytest.mark.parametrize('templates', list(PROMPT_TEMPLATES))
def test_templates_of_a_bundled_set(templates):
    assert Vocabulary(NAMES, templates).sentences == PROMPT_TEMPLATES[templates]


def test_templates_by_default_and_own_ones():
    assert Vocabulary(NAMES).sentences == PROMPT_TEMPLATES['imagenet80']
    assert Vocabulary(NAMES, ['the {}!', 'a {}']).sentences == ('the {}!', 'a {}')


@pytest.mark.parametrize('names, templates, error, message', [
    ('nowhere.txt', 'plain', FileNotFoundError, r"^vocabulary\.names='nowhere\.txt' is neither a bundled class list"),
    (7, 'plain', ValueError, r'^vocabulary\.names=7 must be a bundled class list, a file or a list of strings$'),
    ([], 'plain', ValueError, '^the class list has no classes$'),
    (['cat', 'Cat'], 'plain', ValueError, "^'Cat' stands twice in the class list: in class 0 and in class 1$"),
    (NAMES, 'imagenet', ValueError, r"^vocabulary\.templates='imagenet' is neither a bundled set \(imagenet80, "),
    (NAMES, 7, ValueError, r'^vocabulary\.templates=7 must be a bundled set'),
    (NAMES, [], ValueError, r'^vocabulary\.templates=\[\] is empty'),
    (NAMES, ['a {}', 'a'], ValueError, r"^vocabulary\.templates: 'a' must be a sentence with exactly one \{\}")])
def test_what_its_readers_refuse_is_refused(names, templates, error, message):
    with pytest.raises(error, match=message):
        Vocabulary(names, templates)


def test_one_class_is_warned_of(monkeypatch):
    said = []
    monkeypatch.setattr(class_lists, 'print_log', lambda message, *_: said.append(message))
    Vocabulary(['sea', 'sky'])
    assert said == []
    Vocabulary(['sea; ocean'])
    assert said == ["the class list has one class only, 'sea, ocean': every pixel will be labelled with it"]


def test_equal_is_what_has_equal_names_and_templates(tmp_path):
    path = tmp_path / 'words.txt'
    path.write_text('cat\ndog\n')
    first = Vocabulary(path, 'plain')
    assert first == Vocabulary(path, 'plain')
    for other in (Vocabulary(path), Vocabulary(path, 'imagenet7'), Vocabulary(['cat', 'cow'], 'plain')):
        assert first != other
    path.write_text('cat\ncow\n')
    assert first != Vocabulary(path, 'plain')  # of the same name, but with other words by now


def test_it_cannot_be_changed_and_can_be_copied():
    vocabulary = Vocabulary(NAMES, ['a {}'])
    with pytest.raises(dataclasses.FrozenInstanceError):
        vocabulary.names = ['cat']
    for again in (copy.deepcopy(vocabulary), pickle.loads(pickle.dumps(vocabulary)), dataclasses.replace(vocabulary)):  # noqa: S301
        assert again == vocabulary and again.all_names == vocabulary.all_names
    assert dataclasses.replace(vocabulary, names=['sea', 'sky']).all_names == ['sea', 'sky']


def test_other_names_have_the_templates_that_were_read_before(tmp_path):
    templates = tmp_path / 'templates.txt'
    templates.write_text('a {}.\n')
    first = Vocabulary(NAMES, str(templates), 'auto')
    templates.unlink()
    other = first.with_names(['sea', 'sky'])
    assert other.synonyms == [['sea'], ['sky']] and other.background is None
    assert other.sentences == ('a {}.',) and other.templates == str(templates)
    assert first.with_names(['sea', 'sky'], 'auto').background == first.background
