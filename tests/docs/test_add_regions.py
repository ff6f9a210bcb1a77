"""The code of the page "add a source of region maps", run as its reader would."""
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS
from skimage.segmentation import felzenszwalb

from ovseg.config import read_config
from ovseg.registry import REGIONS

PAGE = 'docs/add_regions.md'
texts, commands = map(runpy.run_path(str(Path(__file__).parent / 'pages.py')).get, ('texts', 'commands'))
MODULE, CONFIG = texts(PAGE, 'python')


@pytest.fixture
def files(checkout):
    """The page's module, and beside it the page's config, whose path this is."""
    (checkout / 'graph_regions.py').write_text(MODULE)
    (checkout / 'my_config.py').write_text(CONFIG)
    yield checkout / 'my_config.py'
    sys.modules.pop('graph_regions', None)
    REGIONS._module_dict.pop('GraphRegions', None)


@pytest.mark.usefixtures('files')
def test_the_command_evaluates_the_config(shell):
    command, = commands(PAGE)
    shell.run(command)
    assert 'GraphRegions' in REGIONS.module_dict


def test_its_regions_are_the_large_segments(files, monkeypatch):
    monkeypatch.syspath_prepend(str(files.parent))
    cfg = read_config(files, {'model.clip.pretrained': None, 'model.vocabulary.templates': 'plain'})
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        segmentor = MODELS.build(cfg.model)
    image = torch.nn.functional.interpolate(torch.randn(1, 3, 2, 3), (61, 97))[0]
    image[:, 3:11, 5:17] = 9  # a segment of 96 pixels
    regions = segmentor.predict([image])[0].regions.data[0].numpy()
    rgb = (image * segmentor.std + segmentor.mean).permute(1, 2, 0).numpy()
    segments = felzenszwalb(rgb, 50.0, channel_axis=-1)
    expected = np.zeros_like(segments)
    for number in np.unique(segments):
        if (segments == number).sum() >= 200:
            expected[segments == number] = number + 1
    assert np.array_equal(regions, expected) and 0 < (regions > 0).mean() < 1
