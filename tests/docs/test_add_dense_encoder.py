"""The code of the page "add a dense encoder", run as its reader would."""
import runpy
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from ovseg.models.guides import CLIPGuide
from ovseg.registry import DENSE_ENCODERS

PAGE = 'docs/add_dense_encoder.md'
texts, commands = map(runpy.run_path(str(Path(__file__).parent / 'pages.py')).get, ('texts', 'commands'))
MODULE, CONFIG = texts(PAGE, 'python')


@pytest.fixture
def files(checkout):
    """The page's module, and beside it the page's config, whose path this is."""
    (checkout / 'guided.py').write_text(MODULE)
    (checkout / 'my_config.py').write_text(CONFIG)
    yield checkout / 'my_config.py'
    sys.modules.pop('guided', None)
    DENSE_ENCODERS._module_dict.pop('GuidedEncoder', None)


@pytest.mark.usefixtures('files')
def test_the_command_evaluates_the_config(shell):
    command, = commands(PAGE)
    shell.run(command)
    assert 'GuidedEncoder' in DENSE_ENCODERS.module_dict


def test_it_averages_values_as_the_page_says(build):
    segmentor, images = build(), torch.randn(2, 3, 48, 80)
    encoder, tower = segmentor.image_encoder, segmentor.tower
    assert (encoder.guide, encoder.sharpness) == (CLIPGuide(features='k'), 5.0)
    patches = encoder.guide(tower, segmentor.batch(images)).patches
    x, grid_size = tower.embed(images)
    for block in tower.blocks[:-1]:
        x = tower.run(block, x, grid_size)
    _, _, v = tower.qkv(tower.blocks[-1], x, grid_size)
    rows = []
    for window in range(2):
        for i in range(15):
            weights = torch.stack([5 * F.cosine_similarity(patches[window, i], patches[window, j], dim=0) for j in range(15)])
            rows.append(sum(weight * v[window, :, 1 + j] for j, weight in enumerate(weights.softmax(0))))
    expected = tower.join(tower.blocks[-1], torch.stack(rows).unflatten(0, (2, 15)).transpose(1, 2))
    found = segmentor.tokens(images)
    assert found.grid_size == (3, 5)
    torch.testing.assert_close(found.patches, expected, atol=1e-5, rtol=1e-4)


def test_its_guide_is_a_key_of_the_config(build):
    assert build(**{'model.image_encoder.guide.layer': 1}).image_encoder.guide == CLIPGuide(1, 'k')
    with pytest.raises(ValueError, match=r'image_encoder \(GuidedEncoder\) has no key .sharpnes.'):
        build(**{'model.image_encoder.sharpnes': 3})


def test_post_processors_that_need_more_are_refused(build):
    with pytest.raises(ValueError, match='GlobalDebias needs the CLS token'):
        build(**{'model.post_processors': ['GlobalDebias']})
    with pytest.raises(ValueError, match='SelfAttnEnhancement needs the attention'):
        build(**{'model.post_processors': ['SelfAttnEnhancement']})
