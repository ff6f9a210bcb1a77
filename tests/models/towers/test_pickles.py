import io
import pickle
import sys
from collections import Counter, OrderedDict
from pickle import UnpicklingError

import numpy as np
import pytest
import torch

from ovseg.models.towers.pickles import Call, Global, Instance, Storage, parse, rebuild

STORAGE = Storage('0', torch.float32, 35)
ELEMENTS = torch.arange(35.)


def tree_of(thing):
    return parse(io.BytesIO(pickle.dumps(thing, 2))).tree


def tensor_call(offset=0, size=(5, 7), stride=(7, 1), storage=STORAGE):
    return Call('torch._utils _rebuild_tensor_v2', (storage, offset, size, stride, False, {}))


def rebuilt(tree, read=lambda storage: ELEMENTS, available=140):
    return rebuild(tree, read, available)


@pytest.mark.parametrize('thing', [
    None, True, False, 0, 255, 256, 65536, -3, 2 ** 40, 10 ** 600, 0.5, 'a', 'ä' * 300, (), (1,), (1, 2), (1, 2, 3),
    (1, 2, 3, 4), [], [5], [1, 2, 3], {}, {'a': 1},
    {1: [dict(b=(2.5, None))], 'c': True}, OrderedDict(a=1, b=OrderedDict())], ids=lambda thing: repr(thing)[:30])
def test_containers_strings_and_numbers(thing):
    found = rebuilt(tree_of(thing))
    assert found == thing and type(found) is (dict if isinstance(thing, OrderedDict) else type(thing))


def test_a_counter():
    found = rebuilt(tree_of(dict(milestones=Counter({3: 2, 7: 1}))))
    assert found == dict(milestones=Counter({3: 2, 7: 1})) and found['milestones'][5] == 0


def test_attributes_of_a_dict_are_left_out():
    state = OrderedDict(a=1)
    state._metadata = dict(version=3)
    assert tree_of(state) == dict(a=1)


def test_what_is_named_is_not_looked_up():
    assert tree_of(print) == Global('__builtin__ print')
    assert parse(io.BytesIO(b'\x80\x02cno.such.module\nthing\n)R.')).tree == Call('no.such.module thing', ())
    found = parse(io.BytesIO(b'\x80\x02cno.such.module\nThing\n)\x81}b.')).tree
    assert isinstance(found, Instance) and (found.class_name, found.state) == ('no.such.module Thing', {})
    assert 'no' not in sys.modules


@pytest.mark.parametrize(('pickled', 'message'), [
    (b'\x80\x02Vtext\n.', 'UNICODE'), (b'\x80\x04\x8c\x01a\x8c\x01b\x93.', 'SHORT_BINUNICODE'), (b'(ios\nsystem\n.', 'INST'),
    (b'\x80\x02\x82\x01.', 'EXT1'), (b'\x80\x02}\x92.', 'NEWOBJ_EX'), (b'\x80\x02(\x90.', 'ADDITEMS'),
    (b'\x80\x02\x8b\x02\x00\x00\x00\x01\x01.', 'LONG4'),
    (b'\x80\x02]2.', 'DUP'), (b'\x80\x02]0.', 'POP'), (b'\x80\x02Pkey\n.', 'PERSID'),
    (b'\x80\x02K\x01K\x02R.', 'calls an object that is not a function'),
    (b'\x80\x02cos\nsystem\nK\x02R.', 'calls an object that is not a function'),
    (b'\x80\x02K\x01)\x81.', 'makes an instance of an object that is not a class'),
    (b'\x80\x02K\x01}b.', 'sets the state of an object that has none'),
    (b'\x80\x02}K\x01a.', 'appends to an object that is not a list'),
    (b'\x80\x02]K\x01K\x02s.', 'sets items of an object that is not a dict'),
    (b'\x80\x02}(K\x01u.', 'sets items of an object that is not a dict'),
    (b'\x80\x02})K\x01s.', 'keys are neither strings nor integers'), (b'\x80\x02K\x01\x86.', 'takes more items off the stack'),
    (b'\x80\x02(X\x07\x00\x00\x00storagecos\nsystem\nX\x01\x00\x00\x000NK\x01tQ.', 'storage of an unknown kind'),
])
def test_other_instructions_are_refused(pickled, message):
    with pytest.raises(UnpicklingError, match=message):
        parse(io.BytesIO(pickled))


@pytest.mark.parametrize('pickled', [
    b'', b'\x80\x02', b'\x80\x02K', b'\x80\x02.', b'\x80\x02h\x07.', b'\x80\x02t.', b'\x80\x02X\xff\xff\xff\x7fabc.',
    b'\x80\x02\x8b\xff\xff\xff\x7fabc.', b'\x80\x02\x8b\xff\xff\xff\xffabc.', b'\x80\x02X\x01\x00\x00\x00\xff.',
    b'\x80\x02K\x01K\x02.', b'\x80\x02r\xff\xff\xff\xff.'])
def test_a_broken_pickle_is_refused(pickled):
    with pytest.raises((ValueError, LookupError, TypeError, UnpicklingError)):
        parse(io.BytesIO(pickled))


def test_the_file_is_left_behind_the_pickle():
    file = io.BytesIO(pickle.dumps([1, 2], 2) + b'rest')
    parse(file)
    assert file.read() == b'rest'


def test_a_storage_has_one_description():
    def mention(type_):
        return b'(X\x07\x00\x00\x00storagectorch\n' + type_ + b'Storage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x23tQ'
    found = parse(io.BytesIO(b'\x80\x02' + mention(b'Float') + mention(b'Float') + b'\x86.'))
    assert found.tree == (STORAGE, STORAGE) and found.storages == {'0': STORAGE}
    with pytest.raises(UnpicklingError, match="the storage '0' in two ways"):
        parse(io.BytesIO(b'\x80\x02' + mention(b'Float') + mention(b'Half') + b'\x86.'))


@pytest.mark.parametrize(('offset', 'size', 'stride'), [
    (0, (5, 7), (7, 1)), (0, (7, 5), (1, 7)), (3, (2, 3, 5), (15, 5, 1)), (34, (), ()), (35, (0,), (1,)), (0, (0, 3), (3, 1)),
    (0, (3, 1), (1, 1000)), (1, (2, 3), (11, 0)), (0, (5, 7), (0, 1))])
def test_a_tensor_is_the_view_that_is_described(offset, size, stride):
    found = rebuilt(tensor_call(offset, size, stride))
    expected = np.zeros(size, np.float32)
    for index in np.ndindex(*size):
        expected[index] = offset + sum(i * step for i, step in zip(index, stride))
    assert found.shape == size and np.array_equal(found.numpy(), expected)


@pytest.mark.parametrize(('description', 'message'), [
    (dict(size=(5, 8)), 'beyond its storage'), (dict(offset=1), 'beyond its storage'),
    (dict(stride=(8, 1)), 'beyond its storage'), (dict(size=(36,), stride=(0,)), 'beyond its storage'),
    (dict(size=(10 ** 12,), stride=(0,)), 'beyond its storage'),
    (dict(size=(2 ** 63 - 1, 2), stride=(0, 0)), 'beyond its storage'),
    (dict(offset=35, size=(1,), stride=(1,)), 'beyond its storage'),
    (dict(offset=2 ** 63), 'invalid tensor'), (dict(size=(2 ** 63,), stride=(0,)), 'invalid tensor'),
    (dict(size=(0,), stride=(2 ** 63,)), 'invalid tensor'), (dict(offset=-1), 'invalid tensor'),
    (dict(size=(-5, -7)), 'invalid tensor'), (dict(stride=(-7, 1), offset=34), 'invalid tensor'),
    (dict(size=(5,)), 'invalid tensor'), (dict(size=(5, 7.0)), 'invalid tensor'), (dict(offset='0'), 'invalid tensor'),
    (dict(storage='0'), 'invalid tensor'), (dict(size=(1,) * 65, stride=(1,) * 65), 'invalid tensor'),
    (dict(storage=Call('os system', ('x',))), 'invalid tensor')], ids=repr)
def test_a_tensor_beyond_its_storage_is_refused(description, message):
    with pytest.raises(UnpicklingError, match=message):
        rebuilt(tensor_call(**description))


def test_sizes_of_many_digits_are_not_multiplied(monkeypatch):
    """A pickle can repeat one number of many kB, and the time of the product grows faster than its length."""
    monkeypatch.setattr('ovseg.models.towers.pickles.math.prod', lambda numbers: pytest.fail('multiplied'))
    with pytest.raises(UnpicklingError, match='invalid tensor'):
        rebuilt(tensor_call(0, (1 << 40_000,) * 64, (1,) * 64))


def test_a_storage_is_read_once_and_shared():
    read = []
    call = tensor_call()
    found = rebuilt([call, dict(a=call), tensor_call(7, (7,), (1,))], lambda storage: read.append(storage) or ELEMENTS.clone())
    assert read == [STORAGE] and found[0] is found[1]['a']
    found[0][1, 2] = -3
    assert found[2][2] == -3


def test_views_without_end_are_refused():
    calls = [tensor_call() for _ in range(33)]
    assert len(rebuilt(calls[:32])) == 32
    with pytest.raises(UnpicklingError, match='more than 32 times the size of the file'):
        rebuilt(calls)


def test_a_parameter_is_its_tensor():
    found = rebuilt(Call('torch._utils _rebuild_parameter', (tensor_call(), True, {})))
    assert type(found) is torch.Tensor and torch.equal(found, ELEMENTS.reshape(5, 7))


@pytest.mark.parametrize(('thing', 'name'), [
    (Call('os system', ('true',)), 'os system'), (Global('os system'), 'os system'), (Instance('os thing'), 'os thing'),
    (STORAGE, 'a storage'), (Call('collections Counter', ([1, 1],)), 'collections Counter'),
    (Call('torch._utils _rebuild_sparse_tensor', ()), '_rebuild_sparse_tensor')])
def test_anything_else_is_refused_and_named(thing, name):
    with pytest.raises(UnpicklingError, match=name):
        rebuilt(dict(a=[thing]))


def test_nested_containers_take_no_more_than_their_pickle():
    """Sixty lists that each hold the next twice; written out they would be 10 ** 18."""
    nested = []
    for _ in range(60):
        nested = [nested, nested]
    found = rebuilt(tree_of(nested))
    assert found[0] is found[1] and found[0][1][0][1] is found[1][1][1][1]


@pytest.mark.parametrize('depth', [5000, 300_000])
def test_nesting_without_end_is_refused(depth):
    with pytest.raises(RecursionError):
        rebuilt(parse(io.BytesIO(b'\x80\x02)' + b'\x85' * depth + b'.')).tree)
