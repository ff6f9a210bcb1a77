import pytest
from open_clip.zero_shot_metadata import OPENAI_IMAGENET_TEMPLATES, SIMPLE_IMAGENET_TEMPLATES

from ovseg.vocabulary import prompt_templates
from ovseg.vocabulary.prompt_templates import PROMPT_TEMPLATES


@pytest.mark.parametrize(('name', 'published', 'count'), [('imagenet80', OPENAI_IMAGENET_TEMPLATES, 80),
                                                          ('imagenet7', SIMPLE_IMAGENET_TEMPLATES, 7)])
def test_bundled_sets_equal_the_published_ones(name, published, count):
    sentences = [template.format('red panda') for template in prompt_templates(name)]
    assert len(sentences) == len(set(sentences)) == count
    assert sentences == [template('red panda') for template in published]


def test_plain_is_one_sentence():
    assert prompt_templates('plain') == ('a photo of a {}.',)


def test_own_sentences_are_kept_in_order():
    assert prompt_templates(['{} seen from above', 'a {}']) == ('{} seen from above', 'a {}')


def test_an_unknown_set_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="'imagenet'") as error:
        prompt_templates('imagenet')
    for name in PROMPT_TEMPLATES:
        assert name in str(error.value)


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
