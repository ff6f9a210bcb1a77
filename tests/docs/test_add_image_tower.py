"""The code of the page "add an image tower", run from top to bottom."""
import re
import runpy
from pathlib import Path

import pytest
import torch

from ovseg.models import towers
from ovseg.models.towers import ImageTower
from tests.tiny_timm import TOWERS, WITHOUT_CLS

PAGE = 'docs/add_image_tower.md'
texts, read = map(runpy.run_path(str(Path(__file__).parent / 'pages.py')).get, ('texts', 'read'))


@pytest.fixture(scope='module')
def namespace():
    """Definitions of the page's code, with random weights that hide no error."""
    names = {}
    for code in texts(PAGE, 'python'):
        exec(compile(code, PAGE, 'exec'), names)
    with torch.no_grad():
        for parameter in names['visual'].parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return names


@torch.no_grad()
def test_pooled_is_the_host_s_own_output(namespace):
    images = torch.randn(2, 3, 64, 64)
    expected = namespace['visual'](images)
    assert expected.std() > 0.1
    torch.testing.assert_close(namespace['image_tower'](namespace['visual']).pooled(images), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_segmentor_runs(namespace):
    result = namespace['segmentor'].predict([torch.randn(3, 71, 97)])[0]
    assert result.pred_sem_seg.data.shape == (1, 71, 97)
    assert type(namespace['segmentor'].tower) is namespace['TorchvisionTower']


def test_the_adapter_defines_what_the_interface_asks_for(namespace):
    assert ImageTower.__abstractmethods__ <= vars(namespace['TorchvisionTower']).keys()


def test_the_table_names_the_adapters():
    rows = re.findall(r'^\| `(\w+)` \|', read(PAGE), flags=re.MULTILINE)
    assert set(rows) == {name for name in towers.__all__ if name.endswith('Tower')} - {'ImageTower'}


def test_what_has_no_cls_token_is_as_the_table_says():
    assert set(WITHOUT_CLS) < set(TOWERS) and {name.split('-')[-1] for name in WITHOUT_CLS} == {'SigLIP', 'SigLIP2', 'bigG'}
    table = read(PAGE).split('\n\n')[2]
    assert 'PE-Core | yes, except bigG' in table and re.search(r'SigLIP, SigLIP2, .* \| no \|', table)
