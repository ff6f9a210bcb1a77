import re

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ovseg.models.encoders.checkpoints import read_state_dict

pytestmark = pytest.mark.filterwarnings('ignore:.torch.jit:FutureWarning')


@pytest.fixture
def state():
    return {'visual.proj': torch.randn(3, 5), 'scale': torch.tensor(0.7)}


def assert_equal(got, expected):
    assert got.keys() == expected.keys()
    assert all(torch.equal(got[key], value) for key, value in expected.items())


@pytest.mark.parametrize('wrap', [
    lambda state: state,
    lambda state: {f'module.{key}': value for key, value in state.items()},
    lambda state: dict(epoch=3, state_dict=state),
    lambda state: dict(state_dict={f'module.{key}': value for key, value in state.items()}, optimizer=dict(lr=0.1)),
], ids=['plain', 'parallel', 'training', 'parallel training'])
@pytest.mark.parametrize('zipped', [True, False])
def test_what_torch_saves(tmp_path, state, wrap, zipped):
    torch.save(wrap(state), tmp_path / 'weights.pt', _use_new_zipfile_serialization=zipped)
    assert_equal(read_state_dict(tmp_path / 'weights.pt'), state)


def test_safetensors(tmp_path, state):
    save_file(state, tmp_path / 'weights.safetensors')
    assert_equal(read_state_dict(tmp_path / 'weights.safetensors'), state)


def test_openai_s_integers_are_no_weights(tmp_path, state):
    module = nn.Module()
    module.register_buffer('scale', state['scale'])
    for name in ('input_resolution', 'context_length', 'vocab_size'):
        module.register_buffer(name, torch.tensor(7))
    torch.jit.script(module).save(str(tmp_path / 'ViT.pt'))
    assert_equal(read_state_dict(tmp_path / 'ViT.pt'), dict(scale=state['scale']))


@pytest.mark.parametrize(('thing', 'message'), [
    ([1, 2], 'not a dict of tensors but a list'), (torch.zeros(3), 'not a dict of tensors but a Tensor'),
    (5, 'not a dict of tensors but a int'), ({}, 'not a dict of tensors'), (dict(state_dict=[1]), 'but a list'),
    ({'a': 1}, 'not everything in it is a named tensor'), ({3: torch.zeros(3)}, 'not everything in it is a named tensor'),
    ({'a': torch.zeros(3), 'b': None}, 'not everything in it is a named tensor'),
], ids=repr)
def test_anything_but_named_tensors_is_refused(tmp_path, thing, message):
    torch.save(thing, tmp_path / 'weights.pt')
    with pytest.raises(ValueError, match=message):
        read_state_dict(tmp_path / 'weights.pt')


@pytest.mark.parametrize('content', [b'', b'<html>not found</html>', b'PK\x03\x04 cut off', b'\x80\x02K', b'\x80\x02X\x05',
                                     b'\x80\x02.', b'\x80\x02]q\x00h\x07.'])
@pytest.mark.parametrize('suffix', ['.pt', '.safetensors'])
def test_a_broken_file_is_refused(tmp_path, content, suffix):
    path = tmp_path / f'weights{suffix}'
    path.write_bytes(content)
    with pytest.raises(ValueError, match='it cannot be read'):
        read_state_dict(path)


@pytest.mark.parametrize('zipped', [True, False])
def test_a_file_that_was_cut_off_is_refused(tmp_path, state, zipped):
    path = tmp_path / 'weights.pt'
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for kept in range(1, len(whole), 7 if len(whole) < 1000 else 61):
        path.write_bytes(whole[:kept])
        with pytest.raises(ValueError, match='it cannot be read'):
            read_state_dict(path)


def test_a_file_whose_index_is_damaged_is_refused(tmp_path, state):
    path = tmp_path / 'weights.pt'
    torch.save(state, path, _use_new_zipfile_serialization=False)
    content = bytearray(path.read_bytes())
    *_, last_key = re.finditer(rb'\d{8,}', content)
    content[last_key.start()] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match='it cannot be read'):
        read_state_dict(path)
