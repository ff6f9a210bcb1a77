import subprocess
import sys
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ovseg.models.text import TextEncoder, text_cache, text_encoder
from ovseg.models.text.text_cache import PROBE, cache_folder, content_key, load_rows

NAMES = ['cat', 'traffic light', 'mud', 'Straßenbahn 🚋', '北极 熊', '__metadata__', 'a\tb "c"']
TEMPLATES = ['a photo of a {}.', '{}', 'there is one {} in it']

pytestmark = pytest.mark.usefixtures('folder')


@pytest.fixture
def encoder(clip, tokenizer):
    return TextEncoder(clip, tokenizer)


@pytest.fixture
def encoded(lengths):
    """Prompts encoded since the last call."""
    def count():
        total = sum(size for size, _ in lengths)
        lengths.clear()
        return total
    return count


def files(folder):
    return sorted(path for path in folder.rglob('*') if path.is_file())


def test_second_start_encodes_nothing(clip, tokenizer, encoded, folder):
    first = TextEncoder(clip, tokenizer).encode(NAMES, TEMPLATES)
    assert encoded() == 21
    second = TextEncoder(clip, tokenizer).encode(NAMES, TEMPLATES)
    assert encoded() == 0
    assert torch.equal(first, second)
    assert [path.relative_to(folder).as_posix() for path in files(folder)] == [
        f'text/{content_key(clip, tokenizer, TEMPLATES)}.safetensors']
    assert torch.equal(load_file(files(folder)[0])['rows'], first)


def test_only_new_names_are_encoded(encoder, encoded):
    expected = encoder.encode(NAMES, TEMPLATES)
    encoded()
    changed = encoder.encode(['dog', *NAMES[:0:-1]], TEMPLATES)
    assert encoded() == 3
    assert torch.equal(changed[1:], expected[1:].flip(0))
    encoder.encode(['dog', *NAMES], TEMPLATES)
    assert encoded() == 0


@pytest.mark.parametrize('again', [False, True], ids=['same process', 'next start'])
def test_finished_blocks_outlive_an_interruption(encoder, encoded, monkeypatch, again):
    monkeypatch.setattr(text_encoder, 'NAMES_PER_BLOCK', 2)
    tokenizer, calls = encoder.tokenizer, []

    def interrupted(texts):
        calls.append(texts)
        if 'mud' in texts and len(texts) == 6:
            raise KeyboardInterrupt
        return tokenizer(texts)

    encoder.tokenizer = interrupted
    with pytest.raises(KeyboardInterrupt):
        encoder.encode(NAMES, TEMPLATES)
    assert encoded() == 6
    encoder.tokenizer = tokenizer
    (TextEncoder(encoder.clip, tokenizer) if again else encoder).encode(NAMES, TEMPLATES)
    assert encoded() == 15


def test_nothing_is_kept_when_switched_off(clip, tokenizer, encoded, folder):
    for _ in range(2):
        TextEncoder(clip, tokenizer, cache=False).encode(NAMES, TEMPLATES)
        assert encoded() == 21
    assert not folder.exists()


@pytest.mark.parametrize('value', ['', 'off'])
def test_environment_switches_it_off(clip, tokenizer, encoded, folder, monkeypatch, value):
    monkeypatch.setenv('OVSEG_CACHE', value)
    for _ in range(2):
        TextEncoder(clip, tokenizer).encode(NAMES, TEMPLATES)
        assert encoded() == 21
    assert not folder.exists()


@pytest.mark.parametrize(('environment', 'expected'), [
    (dict(OVSEG_CACHE='/scratch/x', XDG_CACHE_HOME='/y'), '/scratch/x'), (dict(OVSEG_CACHE='~/x'), '/home/me/x'),
    (dict(XDG_CACHE_HOME='/y'), '/y/ovseg'), (dict(XDG_CACHE_HOME=''), '/home/me/.cache/ovseg'),
    ({}, '/home/me/.cache/ovseg')])
def test_folder(monkeypatch, environment, expected):
    for name in ('OVSEG_CACHE', 'XDG_CACHE_HOME'):
        monkeypatch.delenv(name, raising=False)
    for name, value in dict(HOME='/home/me', **environment).items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == Path(expected)


@pytest.mark.parametrize(('environment', 'message'), [
    (dict(OVSEG_CACHE='~no_such_user/x'), 'OVSEG_CACHE=~no_such_user/x: there is no home folder ~no_such_user'),
    (dict(XDG_CACHE_HOME='~no_such_user'), 'OVSEG_CACHE .*=~no_such_user: there is no home folder')])
def test_a_folder_of_an_unknown_user_is_refused_with_the_variable(monkeypatch, environment, message):
    for name in ('OVSEG_CACHE', 'XDG_CACHE_HOME'):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=f'^{message}'):
        cache_folder()


def test_a_process_without_a_home_is_told_of_the_variable(monkeypatch):
    for name in ('OVSEG_CACHE', 'XDG_CACHE_HOME', 'HOME'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr('pwd.getpwuid', {}.__getitem__)  # nor an entry among the users
    with pytest.raises(ValueError, match=r'^OVSEG_CACHE .*=~/\.cache: there is no home folder ~ \(is HOME set'):
        cache_folder()



CHANGES = {
    'one bit of the last weight': lambda clip: clip.text_projection.view(torch.int32)[-1, -1].bitwise_xor_(1),
    'a bias': lambda clip: clip.ln_final.bias[3].add_(0.1),
    'two rows swapped': lambda clip: clip.token_embedding.weight.copy_(clip.token_embedding.weight.flip(0)),
    'precision': lambda clip: clip.bfloat16(),
    'activation': lambda clip: setattr(clip.transformer.resblocks[1].mlp, 'gelu', open_clip.transformer.QuickGELU()),
    'heads': lambda clip: setattr(clip.transformer.resblocks[0].attn, 'num_heads', 1),
    'epsilon': lambda clip: setattr(clip.ln_final, 'eps', 1e-6),
    'pooling': lambda clip: setattr(clip, 'text_pool_type', 'last'),
    'mask': lambda clip: setattr(clip, 'attn_mask', None),
    'position of a mask entry': lambda clip: clip.attn_mask[0, 1].zero_()}


@torch.no_grad()
@pytest.mark.parametrize('change', CHANGES.values(), ids=CHANGES)
def test_another_text_tower_finds_nothing(clip, tokenizer, encoded, change):
    TextEncoder(clip, tokenizer).encode(NAMES, TEMPLATES)
    assert encoded() == 21
    change(clip)
    TextEncoder(clip, tokenizer).encode(NAMES, TEMPLATES)
    assert encoded() == 21


def test_the_image_tower_does_not_matter(clip, tokenizer, encoded):
    TextEncoder(clip, tokenizer).encode(NAMES, TEMPLATES)
    encoded()
    with torch.no_grad():
        clip.visual.proj.add_(1)
    TextEncoder(clip, tokenizer).encode(NAMES, TEMPLATES)
    del clip.visual
    TextEncoder(clip, tokenizer).encode(NAMES, TEMPLATES)
    assert encoded() == 0


@pytest.mark.parametrize('templates', [TEMPLATES[:2], [*TEMPLATES[:2], 'there is one {} in itt']])
def test_other_templates_find_nothing(encoder, encoded, templates):
    encoder.encode(NAMES, TEMPLATES)
    encoded()
    encoder.encode(NAMES, templates)
    assert encoded() == 7 * len(templates)


def test_another_tokenizer_finds_nothing(clip, tokenizer, encoder, encoded):
    encoder.encode(NAMES, TEMPLATES)
    encoded()
    TextEncoder(clip, lambda *args: tokenizer(*args).flip(1)).encode(NAMES, TEMPLATES)
    assert encoded() == 21


def test_unnamed_towers_are_told_apart_by_their_weights(build_clip, tokenizer):
    keys = set()
    for seed in (3, 5):
        torch.manual_seed(seed)
        clip = build_clip(open_clip.CustomTextCLIP)
        clip.text = nn.Sequential(nn.Embedding(53, 13), nn.Flatten())
        keys.add(content_key(clip, tokenizer, TEMPLATES))
    assert len(keys) == 2


def test_key_is_the_same_in_another_process():
    program = """
from ovseg.models.towers import load_clip
from ovseg.models.text.text_cache import content_key
text = load_clip('ovseg-tiny-clip', 'embedded').text_encoder
key = content_key(text.clip, text.tokenizer, ['a {}'])
"""
    here = {}
    exec(program, here)
    there = subprocess.run([sys.executable, '-c', f'{program}print(key)'], check=True, capture_output=True, text=True)
    assert there.stdout.split()[-1] == here['key'] and len(here['key']) == 64


def test_the_newest_names_stay_in_memory_and_on_disk(encoder, encoded, folder, monkeypatch):
    monkeypatch.setattr(text_encoder, 'MOST_NAMES', 5)
    words = [f'word {number}' for number in range(11)]
    first = encoder.encode(words[:3], TEMPLATES)
    for word in words:
        encoder.encode([word], TEMPLATES)
    encoded()
    for path in files(folder):
        assert list(load_rows(path)) == words[-5:]
    assert len(next(iter(encoder._known.values()))) <= 6
    encoder.encode(words[-5:], TEMPLATES)
    assert encoded() == 0
    assert torch.equal(encoder.encode(words[:3], TEMPLATES), first) and encoded() == 9


def test_more_names_than_are_kept_are_all_encoded(encoder, folder, monkeypatch):
    monkeypatch.setattr(text_encoder, 'MOST_NAMES', 3)
    assert encoder.encode(NAMES, TEMPLATES).shape[0] == len(NAMES)
    assert encoder.encode(NAMES, TEMPLATES).shape[0] == len(NAMES)


def foreign_file(path):
    save_file({'other': torch.ones(3)}, path)


def file_without_names(path):
    save_file({'rows': torch.ones(7, 13)}, path)


DAMAGES = {'empty': lambda path: path.write_bytes(b''), 'noise': lambda path: path.write_bytes(b'\xff' * 97),
           'cut': lambda path: path.write_bytes(path.read_bytes()[:-1]),
           'one bit': lambda path: path.write_bytes(path.read_bytes()[:-6] + bytes([path.read_bytes()[-6] ^ 1])
                                                    + path.read_bytes()[-5:]),
           'names changed': lambda path: path.write_bytes(path.read_bytes().replace(b'mud', b'dog')),
           'foreign': foreign_file, 'no names': file_without_names}


@pytest.mark.parametrize('damage', DAMAGES.values(), ids=DAMAGES)
def test_damaged_file_is_named_and_replaced(clip, tokenizer, encoded, folder, warnings_logged, damage):
    expected = TextEncoder(clip, tokenizer).encode(NAMES, TEMPLATES)
    path, = files(folder)
    damage(path)
    encoded()
    with warnings_logged() as warnings:
        got = TextEncoder(clip, tokenizer).encode(NAMES, TEMPLATES)
    assert encoded() == 21 and torch.equal(got, expected)
    assert len(warnings) == 1 and f'cached in {path} cannot be read and are computed again' in warnings[0]
    with warnings_logged() as warnings:
        TextEncoder(clip, tokenizer).encode(NAMES, TEMPLATES)
    assert encoded() == 0 and not warnings


def test_folder_that_cannot_be_written_warns_once(clip, tokenizer, encoded, folder, warnings_logged, monkeypatch):
    monkeypatch.setattr(text_encoder, 'NAMES_PER_BLOCK', 2)
    folder.write_text('a file where the folder should be')
    with warnings_logged() as warnings:
        expected = TextEncoder(clip, tokenizer).encode(NAMES, TEMPLATES)
        assert torch.equal(TextEncoder(clip, tokenizer).encode(NAMES, TEMPLATES), expected)
    assert encoded() == 42
    assert len(warnings) == 1
    assert f'text embeddings cannot be cached in {folder / "text"} (' in warnings[0] and 'OVSEG_CACHE=off' in warnings[0]
    assert folder.read_text() == 'a file where the folder should be'


def test_too_long_names_warn_at_every_start(encoder, encoded, warnings_logged):
    name = 'long ' * 23
    for prompts in (3, 0):
        with warnings_logged() as warnings:
            encoder.encode([name], TEMPLATES)
        assert encoded() == prompts and len(warnings) == 1 and 'too few for a prompt of' in warnings[0]


def test_weights_are_hashed_once_per_model(clip, tokenizer, monkeypatch):
    counted, digest = [], text_cache.tensors_digest
    monkeypatch.setattr(text_cache, 'tensors_digest', lambda tensors: counted.append(1) or digest(tensors))

    def hashed(names):
        counted.clear()
        TextEncoder(clip, tokenizer).encode(names, TEMPLATES)
        return len(counted)

    assert [hashed(['cat']), hashed(['cat']), hashed(['mud'])] == [1, 0, 0]
    key = content_key(clip, tokenizer, TEMPLATES)
    with torch.no_grad():
        clip.text_projection[2, 3] += 1
    assert [hashed(['cat']), hashed(['cat'])] == [1, 0] and content_key(clip, tokenizer, TEMPLATES) != key
    clip.load_state_dict({name: tensor.flip(0) for name, tensor in clip.state_dict().items()})
    assert [hashed(['cat']), hashed(['cat'])] == [1, 0]
    clip.bfloat16()
    assert [hashed(['cat']), hashed(['cat'])] == [1, 0]


def test_weights_made_in_inference_mode_are_hashed_each_time(build_clip, tokenizer):
    with torch.inference_mode():
        clip = build_clip()
        keys = [content_key(clip, tokenizer, TEMPLATES)]
        clip.text_projection[2, 3] += 1
    keys.append(content_key(clip, tokenizer, TEMPLATES))
    assert keys[0] != keys[1]


def test_a_start_with_cached_names_tokenises_no_name_that_fits(folder):
    clip, tokenizer = open_clip.create_model('ovseg-tiny-clip'), open_clip.get_tokenizer('ovseg-tiny-clip')
    texts = []
    encoder = TextEncoder(clip, tokenizer)
    expected = encoder.encode(['cat', 'mud'], ['{}', 'a {}'])
    again = TextEncoder(clip, lambda given, *args: texts.extend(given) or tokenizer(given, *args))
    assert torch.equal(again.encode(['mud', 'cat'], ['{}', 'a {}']), expected.flip(0))
    assert texts == ['', PROBE]
