"""Warnings for names that are too long, with tokenizers that end, pad and cut in the ways of open_clip's."""
import io

import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.logging import MMLogger

from ovseg.models.text.prompt_cuts import most_tokens, warn_of_cuts
from ovseg.vocabulary.prompt_templates import prompt_templates

CONTEXT = 11
TEMPLATES = ['a {}', 'a photo of the {}.', '{}']


class WordTokenizer:
    """One id a word. ``before``, ``after``: special ids around them; ``last``: an id at the very end of every row."""

    def __init__(self, before, after, padding, last=None):
        self.before, self.after, self.padding, self.last = before, after, padding, last

    def __call__(self, texts, context_length=CONTEXT):
        room = context_length - (self.last is not None)
        rows = []
        for text in texts:
            words = [10 + sum(map(ord, word)) for word in text.split()][:room - len(self.before) - len(self.after)]
            row = [*self.before, *words, *self.after]
            rows.append(row + [self.padding] * (room - len(row)) + ([] if self.last is None else [self.last]))
        return torch.tensor(rows)


TOKENIZERS = {'CLIP': (WordTokenizer([1], [2], 0), 9), 'BERT without separator': (WordTokenizer([1], [0], 0), 9),
              'SigLIP': (WordTokenizer([], [3], 3), 10), 'CLIPS': (WordTokenizer([1], [2], 0, last=4), 8)}


@pytest.fixture(params=TOKENIZERS.values(), ids=TOKENIZERS)
def tokenizer_and_room(request):
    return request.param


def test_names_that_just_fit_and_names_that_just_do_not(tokenizer_and_room, warnings_logged):
    tokenizer, room = tokenizer_and_room
    fits = ' '.join(['w'] * (room - 4))  # 'a photo of the' takes four
    with warnings_logged() as warnings:
        warn_of_cuts(['cat', fits], TEMPLATES, tokenizer)
        assert not warnings
        warn_of_cuts(['cat', f'{fits} tail', fits], TEMPLATES, tokenizer)
    assert warnings == [f"CLIP reads 11 tokens, too few for a prompt of '{fits} tail': it sees 'a photo of the {fits} ' and "
                        "not 'tail.'"]


def test_each_long_name_gets_one_warning(tokenizer_and_room, warnings_logged):
    with warnings_logged() as warnings:
        warn_of_cuts(['x ' * 13, 'cat', 'y ' * 17], TEMPLATES, tokenizer_and_room[0])
    assert ['x x' in warnings[0], 'y y' in warnings[1], len(warnings)] == [True, True, 2]


@pytest.mark.parametrize('name', ['very ' * 40 + 'long', '木' * 50, '🐈' * 60, 'uncharacteristically' * 9],
                         ids=['words', 'Chinese', 'emoji', 'one word'])
def test_place_of_the_cut_with_open_clip_s_tokenizer(name, warnings_logged):
    tokenizer = open_clip.get_tokenizer('ovseg-tiny-clip')
    context_length = tokenizer(['']).shape[1]
    prompt = f'a photo of a {name}.'
    with warnings_logged() as warnings:
        warn_of_cuts(['cat', name], ['a photo of a {}.', '{}'], tokenizer)
    start = f'CLIP reads {context_length} tokens, too few for a prompt of {name!r}: it sees '
    kept = [prompt[:i] for i in range(len(prompt)) if warnings == [f'{start}{prompt[:i]!r} and not {prompt[i:]!r}']]
    assert len(kept) == 1
    assert len(tokenizer.encode(kept[0])) <= context_length - 2 < len(tokenizer.encode(prompt[:len(kept[0]) + 1]))


def test_the_same_names_warn_each_time_on_the_terminal(tokenizer_and_room, monkeypatch):
    terminal, name = io.StringIO(), 'a logger that no other test has changed'
    logger = MMLogger(name, log_level='INFO')
    monkeypatch.setattr(logger.handlers[0], 'stream', terminal)
    monkeypatch.setattr(MMLogger, 'get_current_instance', classmethod(lambda cls: logger))
    for times in (1, 2, 3):
        warn_of_cuts(['cat', 'x ' * 13, 'y ' * 17], TEMPLATES, tokenizer_and_room[0])
        assert terminal.getvalue().count('CLIP reads 11 tokens') == 2 * times


def test_names_that_fit_in_any_case_are_not_tokenised(warnings_logged):
    tokenizer, texts = open_clip.get_tokenizer('ViT-B-16'), []

    def noting(given, *args):
        texts.extend(given)
        return tokenizer(given, *args)

    short = ['cat', 'traffic light', 'polar bear cub on ice', '北极熊', 'Größe']
    with warnings_logged() as warnings:
        warn_of_cuts(short, prompt_templates('imagenet80'), noting)
        assert texts == [''] and not warnings
        warn_of_cuts(['cat', 'very ' * 80], prompt_templates('imagenet80'), noting)
    assert len(warnings) == 1 and not any('cat' in text for text in texts)


def test_no_text_has_more_tokens_than_the_bound():
    tokenizer = open_clip.get_tokenizer('ovseg-tiny-clip')

    @settings(derandomize=True, max_examples=300, deadline=None)
    @given(text=st.text(max_size=13))
    def check(text):
        assert len(tokenizer.encode(text)) <= most_tokens(text)
    check()
