import os
import re
from pathlib import Path

import numpy as np
import pytest

from ovseg.models import CLIPSegmentor
from ovseg.models.segmentors.switches import nested_model
from ovseg.registry import POST_PROCESSORS
from ovseg.utils import (
    check_choice,
    check_integer,
    check_keys,
    check_number,
    expanded,
    one_line,
    quoted,
    read_small_text,
    registered,
    shown,
    type_name,
)


def test_a_known_choice_is_returned():
    assert check_choice('mode', 'fast', ('slow', 'fast')) == 'fast'


def test_an_unknown_choice_is_answered_with_key_value_and_choices():
    with pytest.raises(ValueError, match=r"mode='fats' is unknown; known: slow, fast"):
        check_choice('mode', 'fats', ('slow', 'fast'))


def test_allowed_keys_pass():
    check_keys('ctd_cfg', dict(eps=1.1), ['eps', 'metric'])
    check_keys('ctd_cfg', {}, [])


def test_an_unknown_key_is_answered_with_the_nearest_and_all_allowed():
    with pytest.raises(ValueError) as error:
        check_keys('ctd_cfg', dict(eps=1, min_sample=3), ['min_samples', 'eps', 'metric'])
    assert str(error.value) == ("ctd_cfg has no key 'min_sample'; did you mean 'min_samples'?"
                                '; allowed: eps, metric, min_samples')


def test_a_far_off_key_gets_no_suggestion():
    with pytest.raises(ValueError) as error:
        check_keys('ctd_cfg', dict(colour=1), ['eps', 'metric'])
    assert 'did you mean' not in str(error.value)
    assert 'allowed: eps, metric' in str(error.value)


def test_the_context_and_an_empty_allowance_are_said():
    with pytest.raises(ValueError, match=r"attention_cfg has no key 'scale' with model_type='X'.*allowed: none"):
        check_keys('attention_cfg', dict(scale=1), (), "model_type='X'")


def test_allowed_keys_may_come_as_an_iterator():
    with pytest.raises(ValueError, match='allowed: a, b'):
        check_keys('cfg', dict(a=1, b=2, zzz=3), iter(['b', 'a']))


@pytest.mark.parametrize('value', [[], {}, None, 5, np.zeros(3), 'fast\n'])
def test_a_choice_of_another_type_is_refused(value):
    with pytest.raises(ValueError, match=r'^mode=.* is unknown; known: slow, fast$'):
        check_choice('mode', value, ('slow', 'fast'))


@pytest.mark.parametrize('value', [3, 3.5, np.float32(3), np.int64(3), 3.4e38, 1e-300])
def test_numbers(value):
    assert check_number('x', value) is value


@pytest.mark.parametrize('value', [10 ** 400, -10 ** 5000, 2 ** 63, 1e39, float('inf'), float('nan'), True, np.bool_(True), '3',
                                   None, [3], 3j, np.zeros(2), np.float64('inf')], ids=shown)
def test_what_float32_cannot_hold_is_refused_in_a_short_line(value):
    with pytest.raises(ValueError, match=r'^logit_scale=') as caught:
        check_number('logit_scale', value, above=True)
    assert len(str(caught.value)) < 150 and '\n' not in str(caught.value)


@pytest.mark.parametrize('value', [3, np.int64(3), np.uint8(3), 2 ** 63 - 1])
def test_integers(value):
    assert check_integer('x', value, 0) is value


@pytest.mark.parametrize('value', [10 ** 30, 2 ** 63, 10 ** 400, -10 ** 5000, -1, True, np.bool_(True), 3.0, '3', None, [3]],
                         ids=shown)
def test_what_int64_cannot_hold_is_refused_in_a_short_line(value):
    with pytest.raises(ValueError, match=r'^top_k=.* must be an integer >= 0$') as caught:
        check_integer('top_k', value, 0)
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize('value, text', [
    (10 ** 400, 'an integer of about 401 digits'), (-10 ** 39, str(-10 ** 39)), ('cat', "'cat'"),
    ([1, 'a', 10 ** 5000], "[1, 'a', an integer of about 5001 digits]"), (dict(b=1, a=2), "{'a': 2, 'b': 1}"),
    ('\x1b[31m\n', r"'\x1b[31m\n'"), (1e400, 'inf')], ids=shown)
def test_values_are_shown_in_a_short_line(value, text):
    assert shown(value) == text


@pytest.mark.parametrize('value', ['x' * 9999, ['x'] * 9999, dict.fromkeys(range(9999), 'x'), Path('x' * 9999),
                                   [[[['x' * 99] * 99] * 99]]], ids=type)
def test_long_values_are_cut(value):
    assert len(shown(value)) < 1100


@pytest.mark.parametrize('name, text', [
    ('a b.png', 'a b.png'), ('Größe 木🐈.png', 'Größe 木🐈.png'), (Path('a/b'), str(Path('a/b'))), ('a\nb', r"'a\nb'"),
    ('\x1b[31mred', r"'\x1b[31mred'"), ('a\u202eb', r"'a\u202eb'"), ('a\u200bb', r"'a\u200bb'"), ('', "''"),
    (os.fsdecode(b'caf\xe9'), r"'caf\udce9'"), ("it's", "it's")])
def test_a_name_is_quoted_where_it_is_unclear(name, text):
    assert quoted(name) == text


def test_a_name_without_end_is_cut():
    assert len(quoted('a' * 10 ** 6)) < 1100


@pytest.mark.parametrize('error, text', [
    (KeyError('no\nsuch key'), 'no such key'), (ValueError('a\n  b\x1b'), r'a b\x1b'), (MemoryError(), 'MemoryError'),
    (RuntimeError('x' * 9999), 'x' * 1000 + '...')])
def test_another_packages_message_becomes_a_line(error, text):
    assert one_line(error) == text


def test_a_home_folder_that_is_unknown_is_refused_with_the_key(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    assert expanded('--out', '~/x') == tmp_path / 'x'
    assert expanded('--out', 'x/~y') == Path('x/~y')
    with pytest.raises(ValueError, match=r'^--out=~no_such_user/x: there is no home folder ~no_such_user '):
        expanded('--out', '~no_such_user/x')
    monkeypatch.chdir(tmp_path)
    Path('~backup.txt').touch()
    assert expanded('name_path', '~backup.txt') == Path('~backup.txt')


def test_a_small_text_is_read_whole(tmp_path):
    (tmp_path / 'a.txt').write_bytes('\ufeffGröße'.encode())
    assert read_small_text('list', tmp_path / 'a.txt', 10) == 'Größe'
    with pytest.raises(ValueError, match=r'^list .*a\.txt is larger than 9 bytes$'):
        read_small_text('list', tmp_path / 'a.txt', 9)


@pytest.mark.parametrize('path, error, message', [
    ('folder', ValueError, 'list .*folder is no file'), ('pipe', ValueError, 'list .*pipe is no file'),
    ('/dev/zero', ValueError, 'list /dev/zero is no file'), ('nul\0', ValueError, r"list 'nul\\x00' is no file"),
    ('missing', FileNotFoundError, 'there is no list /.*missing'), ('x' * 5000, OSError, 'File name too long'),
    ('latin', ValueError, 'list latin is not UTF-8: .*position 3')])
def test_what_is_no_small_text_is_refused_at_once(path, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('folder').mkdir()
    Path('latin').write_bytes(b'caf\xe9')
    os.mkfifo('pipe')
    with pytest.raises(error, match=message):
        read_small_text('list', path, 100)


def test_a_folder_without_permission_is_named(tmp_path, monkeypatch):
    def denied(path, *args):
        raise PermissionError(13, 'Permission denied', str(path))
    monkeypatch.setattr('ovseg.utils.os.stat', denied)
    with pytest.raises(PermissionError, match=r"Permission denied: '.*a\.py'"):
        read_small_text('config', tmp_path / 'a.py', 100)


def test_a_type_is_a_name_or_a_class():
    assert type_name('CTD') == 'CTD' and type_name(dict) == 'dict'
    with pytest.raises(ValueError, match='type=5 must be a name'):
        type_name(5)


@pytest.mark.parametrize('name', ['...', '.', '.CTD', '', 'os.path', 'a..b', 'nothing', 3, None, ['CTD']])
def test_what_names_nothing_is_not_registered(name):
    assert registered(POST_PROCESSORS, name) is None


@pytest.mark.parametrize('name', ['...', '.CTD', 'os.path'])
@pytest.mark.parametrize('component', [
    lambda name: dict(post_processors=[name]),
    lambda name: nested_model(dict(post_processors=[dict(type=name)]), dict(apply_ctd=True), replace=True),
    lambda name: dict(image_encoder=dict(type=name)), lambda name: dict(image_encoder=dict(attention=name)),
    lambda name: dict(decoder=dict(refiner=name))], ids=['chain', 'switch', 'encoder', 'attention', 'refiner'])
def test_a_component_of_such_a_type_is_refused_by_name(name, component):
    with pytest.raises(ValueError, match=rf"'{re.escape(name)}' is unknown; known: "):
        CLIPSegmentor(dict(name='ovseg-tiny-clip', pretrained=None), dict(names=['thing', 'stuff']), **component(name))
