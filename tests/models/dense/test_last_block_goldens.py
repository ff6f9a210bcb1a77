"""The encoder of one attention against outputs of the code of the peers."""
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from open_clip.transformer import QuickGELU, VisionTransformer

from tests.bound_encoder import BoundEncoder


@pytest.fixture(scope='module')
def goldens(goldens_dir):
    return SimpleNamespace(**{name: np.load(goldens_dir / f'{name}.npz') for name in ('vit_state', 'inputs', 'expected')})


def golden_keys():
    files = np.load(Path(__file__).parents[2] / 'data' / 'goldens' / 'expected.npz').files
    return [key for key in files if key.startswith(('features/', 'cls/'))]


def golden_options(repository, name):
    """Our arguments for what the peers' code calls ``name``."""
    first, second = name.split('-')
    if repository == 'naclip-repo':
        model_type = dict(vanilla='Vanilla', naclip='NACLIP', csa='SCLIP', kk='KK')[second]
        return dict(attention=model_type, ignore_residual=first == 'reduced')
    return dict(attention=first, ignore_residual=second == 'noresidual')


def test_every_kind_of_golden_is_there():
    kinds = {key.rsplit('/', 1)[0] for key in golden_keys()}
    sizes = {key.rsplit('/', 1)[1] for key in golden_keys()}
    assert sizes == {'64x64', '112x80', '96x128'} and len(golden_keys()) == len(kinds) * 3 >= 48


@pytest.mark.parametrize('key', golden_keys())
def test_equals_the_peers_own_code(goldens, key):
    kind, repository, name, size = key.split('/')
    visual = VisionTransformer(64, 16, 128, 4, 2, 4.0, output_dim=64, act_layer=QuickGELU)
    visual.load_state_dict({name: torch.from_numpy(value) for name, value in goldens.vit_state.items()})
    encoder = BoundEncoder(visual, cls_source='last_block', **golden_options(repository, name))
    features = encoder.project(encoder.tokens(torch.from_numpy(goldens.inputs[f'image/{size}'])))
    expected = goldens.expected[key]
    if kind == 'cls':
        got = features.cls_token.numpy()
    elif repository == 'naclip-repo':
        got = np.concatenate([features.cls_token[:, None], features.patches], axis=1)
    else:
        got = features.patches.numpy()
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() < 1e-4 * expected.std()
