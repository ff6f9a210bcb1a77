import json
import re
import runpy
import struct
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from mmengine.runner import CheckpointLoader, load_checkpoint
from safetensors.torch import save_file
from torch import nn

from ovseg.models.towers.checkpoints import FOLDER_CONFIG, FOLDER_FILES, read_state_dict, recorded_settings

EVIL = runpy.run_path(str(Path(__file__).parents[2] / 'evil_checkpoints.py'), run_name='evil')['EVIL']

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
    (5, 'not a dict of tensors but a int'), ({}, 'a dict without tensors'), (dict(state_dict={}), 'a dict without tensors'),
    (dict(state_dict=[1]), 'but a list'),
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


def unrestricted(monkeypatch):
    """``torch.load`` as it was by default before torch 2.6."""
    load = torch.load
    monkeypatch.setattr(torch, 'load', lambda *args, **kwargs: load(*args, **{'weights_only': False, **kwargs}))


@pytest.mark.parametrize('name', EVIL)
@pytest.mark.parametrize('read', [read_state_dict, lambda path: load_checkpoint(nn.Linear(3, 5), str(path))],
                         ids=['ours', 'mmengine'])
def test_nothing_is_executed(tmp_path, state, name, read, monkeypatch):
    unrestricted(monkeypatch)
    path = tmp_path / 'weights.pt'
    EVIL[name](path, tmp_path / 'executed', state)
    with pytest.raises(ValueError, match=r'it cannot be read|not everything in it is a named tensor') as raised:
        read(path)
    assert '\n' not in str(raised.value) and not (tmp_path / 'executed').exists()


@pytest.mark.parametrize('number', [float('nan'), float('inf'), float('-inf')])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_numbers_that_are_not_finite_are_refused_and_named(tmp_path, state, number, dtype):
    state['visual.proj'] = state['visual.proj'].to(dtype)
    state['visual.proj'][2, 3] = number
    torch.save(state, tmp_path / 'weights.pt')
    save_file(state, tmp_path / 'weights.safetensors')
    for path in tmp_path.iterdir():
        with pytest.raises(ValueError, match=r"^'visual\.proj' holds NaN or infinite numbers$"):
            read_state_dict(path)


def test_numbers_that_float32_cannot_hold_are_refused(tmp_path):
    torch.save({'a': torch.tensor([1e38], dtype=torch.float64)}, tmp_path / 'weights.pt')
    assert read_state_dict(tmp_path / 'weights.pt')['a'] == 1e38
    torch.save({'a': torch.tensor([1e39], dtype=torch.float64)}, tmp_path / 'weights.pt')
    with pytest.raises(ValueError, match='infinite'):
        read_state_dict(tmp_path / 'weights.pt')


def test_a_type_that_weights_cannot_have_is_refused(tmp_path):
    head = json.dumps({'a': dict(dtype='F8_E4M3', shape=[3], data_offsets=[0, 3])}).encode()
    (tmp_path / 'weights.safetensors').write_bytes(struct.pack('<Q', len(head)) + head + bytes(3))
    # older releases of safetensors do not know it
    with pytest.raises(ValueError, match=r"'a' is of the type torch\.float8_e4m3fn, which weights|it cannot be read"):
        read_state_dict(tmp_path / 'weights.safetensors')


def test_mmengine_gets_weights_and_records_without_configs(tmp_path):
    """mmengine executes ``meta['config']`` where a training is resumed, and the two others in its inferencers."""
    model, other = nn.Linear(3, 5), nn.Linear(3, 5)
    program = f"open({str(tmp_path / 'executed')!r}, 'w')"
    state = OrderedDict({f'module.{key}': value for key, value in other.state_dict().items()})
    torch.save(dict(state_dict=state, meta=dict(epoch=7, cfg=program, config=program),
                    message_hub=dict(log_scalars={}, runtime_info=dict(cfg=program, iter=11), resumed_keys=dict(cfg=True))),
               tmp_path / 'epoch_7.pth')
    found = load_checkpoint(model, str(tmp_path / 'epoch_7.pth'), map_location='cuda:3')
    assert torch.equal(model.weight, other.weight) and torch.equal(model.bias, other.bias)
    assert found['meta'] == dict(epoch=7)
    assert found['message_hub'] == dict(log_scalars={}, runtime_info=dict(iter=11), resumed_keys={})


def test_mmengine_reads_safetensors_and_torchscript(tmp_path):
    other = nn.Linear(3, 5)
    save_file(other.state_dict(), tmp_path / 'weights.safetensors')
    torch.jit.script(other).save(str(tmp_path / 'weights.pt'))
    for path in tmp_path.iterdir():
        model = nn.Linear(3, 5)
        load_checkpoint(model, str(path))
        assert torch.equal(model.weight, other.weight)


@pytest.mark.parametrize('prefix', ['http://', 'https://', 's3://', 'petrel:s3://', 'torchvision://', 'open-mmlab://', 'mmcls://',
                                    'pavi://', 'modelzoo://'])
def test_mmengine_reads_only_local_files(prefix):
    """A download would be given to ``torch.load``."""
    with pytest.raises(ValueError, match=f"'{prefix}resnet50' is no local file: download it, and name the file"):
        CheckpointLoader.load_checkpoint(f'{prefix}resnet50')


@pytest.mark.parametrize('name', ['absent.pth', '', 'a\nb'])
def test_mmengine_names_a_missing_file(name):
    with pytest.raises(FileNotFoundError) as raised:
        CheckpointLoader.load_checkpoint(name)
    assert str(raised.value) == f'there is no checkpoint file {name!r}'


def test_mmengine_s_error_names_the_file(tmp_path, state):
    torch.save({}, tmp_path / 'new\nline.pth')
    with pytest.raises(ValueError, match='line') as raised:
        CheckpointLoader.load_checkpoint(str(tmp_path / 'new\nline.pth'))
    assert str(raised.value) == f"'{tmp_path}/new\\nline.pth' is no checkpoint: it is a dict without tensors"


def test_mmengine_s_error_is_short(tmp_path):
    torch.save({'a' * 10_000: torch.tensor(float('nan'))}, tmp_path / 'weights.pth')
    with pytest.raises(ValueError, match=r'weights\.pth is no checkpoint: .aaa') as raised:
        CheckpointLoader.load_checkpoint(str(tmp_path / 'weights.pth'))
    assert len(str(raised.value)) < 1500


GOOD = dict(model_cfg=dict(quick_gelu=True), preprocess_cfg=dict(mean=[0.1, 0, 1], std=[0.4, 0.5, 1]))


NO_NUMBERS = (5, 'abc', [0.5], [0.5] * 4, [0.5, 0.5, '0.5'], [0.5, 0.5, True], [0.5, 0.5, float('nan')], [0.5, 0.5, 10 ** 400],
              [0.5, 0.5, -0.1])


@pytest.mark.parametrize(('settings', 'message'), [
    ([], 'must be a JSON object'), (5, 'must be a JSON object'), (dict(model_cfg=3), 'model_cfg must be an object'),
    (dict(preprocess_cfg=None), 'preprocess_cfg must be an object'),
    (dict(model_cfg=dict(quick_gelu='no')), 'quick_gelu must be'),
    *((dict(preprocess_cfg={key: numbers}), f'preprocess_cfg.{key} must be three numbers')
      for key in ('mean', 'std') for numbers in NO_NUMBERS),
    (dict(preprocess_cfg=dict(std=[0.5, 0.5, 0])), 'preprocess_cfg.std must be three numbers from 0 (not itself) to 1'),
], ids=lambda value: str(value)[:50])
def test_settings_of_a_folder_are_checked(tmp_path, settings, message):
    (tmp_path / FOLDER_CONFIG).write_text(json.dumps(GOOD))
    assert recorded_settings(tmp_path / FOLDER_FILES[0]) == GOOD
    (tmp_path / FOLDER_CONFIG).write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=re.escape(message)) as raised:
        recorded_settings(tmp_path / FOLDER_FILES[0])
    assert str(raised.value).startswith(str(tmp_path / FOLDER_CONFIG)) and '\n' not in str(raised.value)


@pytest.mark.parametrize('content', [b'', b'{', b'\xff', b'[' * 100_000])
def test_settings_that_are_no_json_are_refused(tmp_path, content):
    (tmp_path / FOLDER_CONFIG).write_bytes(content)
    with pytest.raises(ValueError, match=f'^{tmp_path / FOLDER_CONFIG} is not valid JSON: .*$'):
        recorded_settings(tmp_path / FOLDER_FILES[0])
