import hashlib
import json

import pytest

from ovseg.models import CLIPSegmentor
from ovseg.vocabulary import Vocabulary
from ovseg.vocabulary.word_record import word_line, word_record


def digest(classes):
    return hashlib.sha256(json.dumps(classes).encode()).hexdigest()


def test_a_bundled_list():
    record = word_record(Vocabulary('voc20'))
    assert record.pop('class_list_sha256')
    assert record == dict(class_list='voc20', class_count=20, name_count=20, templates='imagenet80', template_count=80,
                          background_words=[])


def test_files_and_own_words(tmp_path):
    words, sentences = tmp_path / 'words.txt', tmp_path / 'sentences.txt'
    words.write_text('cat, kitten\ndog\n')
    sentences.write_text('a {}\nthe {}\n')
    assert word_record(Vocabulary(words, str(sentences))) == dict(
        class_list=str(words), class_count=2, name_count=3, class_list_sha256=digest([['cat', 'kitten'], ['dog']]),
        templates=str(sentences), template_count=2, background_words=[])
    own = word_record(Vocabulary(['cat', 'dog', 'sky; cloud'], ['{}']))
    assert (own['class_list'], own['templates'], own['template_count']) == ('custom', 'custom', 1)


def test_automatic_background_words_are_listed_and_part_of_the_checksum():
    words = dict(names=['background', 'red panda'], templates='plain',
                 background=dict(count=2, max_cosine=1, words=['sky', 'sea', 'wall']))
    model = CLIPSegmentor(clip=dict(name='ovseg-tiny-clip', pretrained=None), vocabulary=words)
    record = word_record(model.words)
    assert record['background_words'] == list(model.words.background_words) and len(record['background_words']) == 2
    assert record['name_count'] == 4
    assert record['class_list_sha256'] == digest([['background', *record['background_words']], ['red panda']])
    assert json.loads(json.dumps(record)) == record
    assert word_line(record) == ('custom (2 classes, 4 names, 2 of them automatic background words, sha256 '
                                 f'{record["class_list_sha256"][:12]}), templates plain (1)')


@pytest.mark.parametrize('first, second', [('ade20k', 'ade20k_sclip'), (['a; b', 'c'], ['a', 'b; c'])])
def test_lists_are_told_apart_by_their_checksum(first, second):
    lines = [word_line(word_record(Vocabulary(names))).partition('sha256')[2] for names in (first, second)]
    assert lines[0] != lines[1]
