"""Automatic background words against a loop."""
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ovseg.models import CLIPSegmentor
from ovseg.sets import FAMILIES
from ovseg.vocabulary import Vocabulary, background, bundled_class_lists, read_class_list
from ovseg.vocabulary.background import Background, choose_words

CLIP = dict(name='ovseg-tiny-clip', pretrained='embedded')
POOL = ['zebra', 'sky', 'Sea; ocean', 'brick', 'tartan', 'grass']


def chosen_by_loop(rows, count):
    """Facility location, one candidate and one word at a time."""
    rows = rows.astype(np.float64)
    chosen = []
    for _ in range(count):
        best, best_sum = None, -np.inf
        for candidate in range(len(rows)):
            if candidate in chosen:
                continue
            total = 0.0
            for row in rows:
                total += max([-1.0] + [row @ rows[taken] for taken in (*chosen, candidate)])
            if total > best_sum + 1e-9:
                best, best_sum = candidate, total
        chosen.append(best)
    return chosen


@pytest.mark.parametrize('seed', range(20))
def test_the_choice_is_that_of_a_loop(seed):
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((rng.integers(1, 18), 5)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    count = int(rng.integers(1, len(rows) + 1))
    assert choose_words(torch.from_numpy(rows), count).tolist() == chosen_by_loop(rows, count)


def test_of_equal_words_the_first_is_taken():
    rows = torch.eye(3).repeat_interleave(2, dim=0)
    assert choose_words(rows, 3).tolist() == [0, 2, 4] and choose_words(rows, 6).tolist() == [0, 2, 4, 1, 3, 5]


@pytest.mark.parametrize('max_cosine', [0.2, 0.9, 1.0])
def test_no_word_is_nearer_to_a_class_than_allowed(max_cosine):
    some = Background(3, max_cosine, [f'thing {index}' for index in range(61)])
    rows = F.normalize(torch.randn(61, 7), dim=1)
    classes = rows[[5, 17]]
    found = [some.pool.index(word) for word in some.choose(rows, classes)]
    cosines = rows @ classes.t()
    assert len(set(found)) == 3 and (cosines[found] <= max_cosine).all()
    allowed = [index for index in range(61) if cosines[index].max() <= max_cosine]
    assert found == [allowed[index] for index in chosen_by_loop(rows[allowed].numpy(), 3)]


def test_the_pool_is_every_name_of_everyday_lists_once():
    pool = Background().pool
    special = {name for row in (*FAMILIES['remote sensing'], *FAMILIES['MESS']) for name in row.class_lists}
    lists = set(bundled_class_lists()) - special
    assert {'ade20k', 'context459', 'demo_scenes', 'voc21_lposs'} <= lists and {'isaid', 'uavid_segearth'} <= special
    names = {name.casefold() for each in lists for synonyms in read_class_list(each) for name in synonyms}
    assert {word.casefold() for word in pool} == names and len(pool) == len(names) > 1000
    assert [word.casefold() for word in pool] == sorted(names)
    assert Background(words=POOL).pool == ('brick', 'grass', 'ocean', 'Sea', 'sky', 'tartan', 'zebra')


@pytest.mark.parametrize(('given', 'message'), [
    (dict(count=0), 'vocabulary.background.count=0'), (dict(count=1.5), 'vocabulary.background.count=1.5'),
    (dict(max_cosine=2), 'vocabulary.background.max_cosine=2'), (dict(words=[]), 'has no classes'),
    (dict(words=['cat', 'Cat']), 'stands twice'), (dict(size=3), "no key 'size'"),
    ('none', "vocabulary.background='none' must be"),
    (dict(words=[f'thing {index}' for index in range(5001)]), 'has 5001 words, and at most 5000 are allowed'),
    (7, 'vocabulary.background=7 must be a dict')], ids=str)
def test_what_it_cannot_be_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        Vocabulary(['cat', 'dog'], background=given)


def test_a_pool_that_is_missing_is_named():
    with pytest.raises(FileNotFoundError, match=r'no_such_words\.txt'):
        Vocabulary(['cat', 'dog'], background=dict(words='no_such_words.txt'))


def test_of_a_pool_with_too_few_words_all_are_taken_with_a_warning(monkeypatch):
    logged = []
    monkeypatch.setattr(background, 'print_log', lambda *line: logged.append(line))
    assert Background(2, words=['a', 'b', 'c']).choose(torch.eye(3), torch.eye(3)[:2]) == ['c']
    (line, _, level), = logged
    assert line == ('vocabulary.background: 1 of 3 words have a cosine of at most 0.9 (max_cosine) to every class; all of them '
                    'are taken, in place of 2 (count)') and level == 30
    with pytest.raises(ValueError, match=r'0 of 3 words have a cosine of at most 0.9 \(max_cosine\) to every class: raise'):
        Background(2, words=['a', 'b', 'c']).choose(torch.eye(3), torch.eye(3))


def segmentor(**components):
    return CLIPSegmentor(**{**dict(clip=CLIP, windows=dict(crop=64, stride=48), decoder=dict(bg_idx=1)), **components})


WORDS = dict(names=['red panda', 'background', 'zebra'], templates=['a {}.'], background=dict(count=3, words=POOL))


def test_the_words_join_the_background_class_of_a_model():
    model = segmentor(vocabulary=WORDS)
    words = model.words
    assert len(words.background_words) == 3 and 'zebra' not in words.background_words
    assert words.synonyms == [['red panda'], ['background', *words.background_words], ['zebra']]
    assert words.names == model.class_names == WORDS['names']
    explicit = segmentor(vocabulary=dict(names=[', '.join(names) for names in words.synonyms], templates=['a {}.']))
    assert torch.equal(model.text_embeddings, explicit.text_embeddings)
    assert torch.equal(model.class_of_text, explicit.class_of_text)
    image = torch.randn(3, 61, 97)
    (found,), (expected,) = model.predict([image]), explicit.predict([image])
    assert torch.equal(found.pred_sem_seg.data, expected.pred_sem_seg.data)
    assert model.vocabulary.synonyms[1] == ['background']


def test_variants_share_them_and_another_background_class_gets_its_own(monkeypatch):
    model = segmentor(vocabulary=WORDS)
    rows, words = model.text_embeddings, model.words
    calls = []
    monkeypatch.setattr(Background, 'choose', lambda *args: calls.append(args) or ['sky'])
    same = model.variant(windows=dict(crop=48, stride=32))
    assert same.words is words and same.text_embeddings is rows and not calls
    other = model.variant(decoder=dict(bg_idx=0))
    assert other.words.synonyms[0] == ['red panda', 'sky'] and len(other.text_embeddings) == 4 and len(calls) == 1
    plain = model.variant(vocabulary={**WORDS, 'background': None})
    assert plain.words is plain.vocabulary and len(plain.text_embeddings) == 3


def test_weights_that_are_loaded_choose_again():
    model = segmentor(vocabulary=WORDS)
    before = model.words
    model.load_state_dict(model.state_dict())
    assert model.words is not before and model.words.background_words == before.background_words


def test_other_classes_of_a_live_model_have_none():
    model = segmentor(vocabulary=WORDS)
    assert len(model.text_embeddings) == 6
    model.set_classes(['cat', 'dog'])
    assert model.words.synonyms == [['cat'], ['dog']] and len(model.text_embeddings) == 2


def test_files_are_read_once_although_the_words_are_chosen_at_first_use(tmp_path, monkeypatch):
    names, templates, pool = (tmp_path / name for name in ('names.txt', 'templates.txt', 'pool.txt'))
    names.write_text('backdrop\n')
    templates.write_text('a {}.\n')
    pool.write_text('\n'.join(POOL))
    said = []
    monkeypatch.setattr('ovseg.vocabulary.class_lists.print_log', lambda message, *_: said.append(message))
    given = Vocabulary(names, str(templates), dict(words=str(pool), count=2, max_cosine=1))
    for path in (names, templates, pool):
        path.write_text('another\nword\n')
    words = given.with_background(lambda texts, _: torch.eye(7)[:len(texts)], 0)
    assert words.synonyms == [['backdrop', *words.background_words]] and len(words.background_words) == 2
    assert words.sentences == ('a {}.',) and given.synonyms == [['backdrop']] and given.background_words == ()
    assert len(said) == 1 and 'has one class only' in said[0]
