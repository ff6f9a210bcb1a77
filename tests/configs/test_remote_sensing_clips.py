"""The base configs of RemoteCLIP, GeoRSCLIP and SkyCLIP: architecture and activation, and files of the form of theirs."""
from collections import OrderedDict
from pathlib import Path

import open_clip
import pytest
import torch

from ovseg.models.towers import load_clip

MODELS = Path(__file__).parents[2] / 'configs' / '_base_' / 'models'
QUICK_GELU = {  # as the authors' code loads them, or of the weights that they were trained from
    'remoteclip_vit-b32': False, 'remoteclip_vit-l14': False, 'georsclip_vit-b32': True, 'georsclip_vit-h14': False,
    'skyclip_vit-b32': False, 'skyclip_vit-l14': True}


def test_each_of_them_is_here():
    assert {path.stem for path in MODELS.glob('*clip_vit-*.py') if not path.stem.startswith('clip_')} == set(QUICK_GELU)


@pytest.mark.parametrize('name', QUICK_GELU)
def test_architecture_and_activation(load, name):
    clip = load(f'_base_/models/{name}.py').model.clip
    config = open_clip.get_model_config(clip.name)
    assert config.get('quick_gelu', False) == QUICK_GELU[name]
    assert clip.name.lower().replace('-', '').startswith(name.split('_')[1].replace('-', ''))
    assert clip.pretrained.startswith('checkpoints/') and clip.pretrained.endswith('.pt')
    assert not open_clip.get_pretrained_cfg(clip.name, clip.pretrained)


@pytest.mark.parametrize('name', QUICK_GELU)
def test_a_missing_file_is_named(load, name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    clip = load(f'_base_/models/{name}.py').model.clip
    with pytest.raises(ValueError, match=rf'clip\.pretrained=.*{Path(clip.pretrained).name}.* nor a file or folder'):
        load_clip(**clip)


@pytest.fixture(scope='module')
def state():
    """Weights of the tiny CLIP, under open_clip's keys."""
    return {key: value + 1 if value.is_floating_point() else value
            for key, value in open_clip.create_model('ovseg-tiny-clip').state_dict().items()}


def plain(state):
    """RemoteCLIP and GeoRSCLIP: ``torch.save(model.state_dict())``."""
    return OrderedDict(state)


def training(state):
    """SkyCLIP: a checkpoint of open_clip's training on several GPUs, with the state of AdamW and of the scaler of gradients."""
    parameters = [torch.nn.Parameter(torch.ones(3))]
    optimizer = torch.optim.AdamW(parameters, lr=1e-9, weight_decay=1.0)
    parameters[0].sum().backward()
    optimizer.step()
    scaler = dict(scale=65536.0, growth_factor=2.0, backoff_factor=0.5, growth_interval=2000, _growth_tracker=0)
    return dict(epoch=20, name='SkyCLIP', state_dict=OrderedDict((f'module.{key}', value) for key, value in state.items()),
                optimizer=optimizer.state_dict(), scaler=scaler)


@pytest.mark.parametrize('form', [plain, training])
def test_a_file_of_this_form_loads(form, state, tmp_path):
    torch.save(form(state), tmp_path / 'epoch_20.pt')
    loaded = load_clip('ovseg-tiny-clip', str(tmp_path / 'epoch_20.pt'))
    found = loaded.image_tower.visual.state_dict()
    assert found and all(torch.equal(value, state[f'visual.{key}']) for key, value in found.items())
