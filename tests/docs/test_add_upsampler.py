"""The code of the page "add an upsampler", run as its reader would."""
import runpy
import sys
from pathlib import Path

import pytest
import torch
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS

from ovseg.config import read_config
from ovseg.models.dense_features import DenseFeatures
from ovseg.models.upsamplers.bilinear_upsampler import upsample_bilinear
from ovseg.registry import UPSAMPLERS

PAGE = 'docs/add_upsampler.md'
texts, commands = map(runpy.run_path(str(Path(__file__).parent / 'pages.py')).get, ('texts', 'commands'))
MODULE, CONFIG = texts(PAGE, 'python')


@pytest.fixture
def files(checkout):
    """The page's module, and beside it the page's config, whose path this is."""
    (checkout / 'edges.py').write_text(MODULE)
    (checkout / 'my_config.py').write_text(CONFIG)
    yield checkout / 'my_config.py'
    sys.modules.pop('edges', None)
    UPSAMPLERS._module_dict.pop('EdgeUpsampler', None)


@pytest.fixture
def segmentor(files, monkeypatch):
    monkeypatch.syspath_prepend(str(files.parent))
    cfg = read_config(files, {'model.clip.pretrained': None, 'model.vocabulary.templates': 'plain'})
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return MODELS.build(cfg.model)


@pytest.mark.usefixtures('files')
def test_the_command_evaluates_the_config(shell):
    command, = commands(PAGE)
    shell.run(command)
    assert 'EdgeUpsampler' in UPSAMPLERS.module_dict


def test_the_model_has_a_finer_grid(segmentor):
    assert segmentor.upsampler.scale == 3
    assert segmentor.embed(torch.randn(2, 3, 48, 80)).grid_size == (9, 15)
    assert segmentor.predict([torch.randn(3, 61, 97)])[0].pred_sem_seg.data.shape == (1, 61, 97)


def test_it_weighs_neighbours_by_colour_as_the_page_says(segmentor):
    features, rgb = DenseFeatures(torch.randn(2, 6, 7), None, None, (2, 3)), torch.rand(2, 3, 36, 54)
    finer = upsample_bilinear(features, 3).patches
    rows = []
    for window in range(2):
        colours = [rgb[window, :, 6 * y:6 * y + 6, 6 * x:6 * x + 6].mean(dim=(1, 2)) for y in range(6) for x in range(9)]
        for y in range(6):
            for x in range(9):
                near = [min(max(y + dy, 0), 5) * 9 + min(max(x + dx, 0), 8) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
                weights = torch.stack([(-30 * (colours[i] - colours[9 * y + x]).square().sum()).exp() for i in near])
                rows.append(sum(w * finer[window, i] for w, i in zip(weights / weights.sum(), near)))
    found = segmentor.upsampler(features, rgb)
    assert found.grid_size == (6, 9)
    torch.testing.assert_close(found.patches, torch.stack(rows).unflatten(0, (2, 54)), atol=1e-5, rtol=1e-4)
