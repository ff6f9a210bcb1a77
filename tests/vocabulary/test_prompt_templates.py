import hashlib

import pytest

from ovseg.vocabulary import prompt_templates
from ovseg.vocabulary.prompt_templates import PROMPT_TEMPLATES


@pytest.mark.parametrize(('name', 'count', 'first', 'last', 'digest'), [
    ('imagenet80', 80, 'a bad photo of a {}.', 'a tattoo of the {}.',
     '4f976686fb651bb5803d4689dcd849f75efe0ef19a3c801355bc9a6f03c8a5af'),
    ('imagenet7', 7, 'itap of a {}.', 'a photo of the small {}.',
     '6ef3883987d224b7949da69fe0b615af152e1560eaac4c5c38555e50c882d415')])
def test_bundled_sets_are_the_published_ones(name, count, first, last, digest):
    """They come from open_clip, and published scores depend on every letter: another release must not change them."""
    sentences = prompt_templates(name)
    assert len(sentences) == len(set(sentences)) == count
    assert (sentences[0], sentences[-1]) == (first, last)
    assert hashlib.sha256('\n'.join(sentences).encode()).hexdigest() == digest


def test_plain_is_one_sentence():
    assert prompt_templates('plain') == ('a photo of a {}.',)


def test_own_sentences_are_kept_in_order():
    assert prompt_templates(['{} seen from above', 'a {}']) == ('{} seen from above', 'a {}')


def test_an_unknown_set_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="'imagenet'") as error:
        prompt_templates('imagenet')
    for name in PROMPT_TEMPLATES:
        assert name in str(error.value)


def test_sentences_of_a_file(tmp_path):
    path = tmp_path / 'sentences.txt'
    path.write_text('a {}\n\n  a drawing of a {}. \r\n')
    assert prompt_templates(str(path)) == ('a {}', 'a drawing of a {}.')
    path.write_text('a {}\na photo\n')
    with pytest.raises(ValueError, match=r"'a photo' must be a sentence with exactly one \{\}"):
        prompt_templates(str(path))


def test_an_empty_list_is_refused():
    with pytest.raises(ValueError, match=r'vocabulary\.templates=\[\] is empty'):
        prompt_templates([])


@pytest.mark.parametrize('template', ['a photo', 'a {} on a {}', 7, 'a {0}', 'a {name}'])
def test_a_sentence_without_exactly_one_placeholder_is_refused(template):
    with pytest.raises(ValueError, match=r'exactly one \{\}') as error:
        prompt_templates(['a {}', template])
    assert repr(template) in str(error.value)


@pytest.mark.parametrize('template', ['a {} in a {place}', 'a {} in a {', 'a {} {0}'])
def test_a_sentence_with_other_braces_is_refused(template):
    with pytest.raises(ValueError, match=r'exactly one \{\}') as error:
        prompt_templates(['a {}', template])
    assert repr(template) in str(error.value)
