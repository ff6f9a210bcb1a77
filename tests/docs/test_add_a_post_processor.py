"""The code of the page "add a post-processor", run as its reader would."""
import runpy
import sys
from pathlib import Path

import pytest
import torch
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS

from ovseg.config import read_config
from ovseg.registry import POST_PROCESSORS

PAGE = 'docs/add_a_post_processor.md'
texts, commands, inline = map(runpy.run_path(str(Path(__file__).parent / 'pages.py')).get, ('texts', 'commands', 'inline'))
MODULE, CONFIG = texts(PAGE, 'python')


@pytest.fixture
def files(checkout):
    """The page's module, and beside it the page's config, whose path this is."""
    (checkout / 'sharpen.py').write_text(MODULE)
    (checkout / 'my_config.py').write_text(CONFIG)
    yield checkout / 'my_config.py'
    sys.modules.pop('sharpen', None)
    POST_PROCESSORS._module_dict.pop('Sharpen', None)


@pytest.fixture
def config(files, monkeypatch):
    """The same, where Python can import the module."""
    monkeypatch.syspath_prepend(str(files.parent))
    return files


def build(path, **options):
    cfg = read_config(path, {'model.clip.pretrained': None, **options})
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return MODELS.build(cfg.model)


def test_the_module_has_under_twenty_lines():
    assert 5 < len(MODULE.strip().splitlines()) < 20


def test_the_config_builds_a_model_with_the_module_in_its_chain(config):
    segmentor = build(config)
    assert [type(module).__name__ for module in segmentor.post_processors.modules] == ['GlobalDebias', 'Sharpen']
    assert segmentor.post_processors.modules[1].amount == 0.3
    image = torch.randn(3, 61, 83)
    result, = segmentor.predict([image])
    assert result.pred_sem_seg.data.shape == (1, 61, 83)


@pytest.mark.usefixtures('files')
def test_the_command_evaluates_the_config(shell):
    command, = commands(PAGE)
    shell.run(command)
    assert 'Sharpen' in POST_PROCESSORS.module_dict


def test_the_module_moves_patches_away_from_their_mean(config):
    segmentor = build(config)
    windows = torch.randn(2, 3, 48, 80)
    found = segmentor.extract_feat(windows).patches
    segmentor.post_processors.modules.pop()
    before = segmentor.extract_feat(windows).patches
    mean = sum(before[:, i] for i in range(15)) / 15
    for i in range(15):
        torch.testing.assert_close(found[:, i], before[:, i] + 0.3 * (before[:, i] - mean), atol=1e-5, rtol=1e-4)


def test_an_option_replaces_the_chain(config, shell):
    option, = (code for code in inline(PAGE) if code.startswith('model.post_processors='))
    options = shell.parse(f'python tools/test.py {config} --cfg-options {option}').cfg_options
    modules = build(config, **options).post_processors.modules
    assert [type(module).__name__ for module in modules] == ['GlobalDebias', 'Sharpen']
    assert modules[1].amount == 0.5


def test_an_unknown_keyword_lists_what_the_module_takes(config):
    with pytest.raises(ValueError, match=r"Sharpen has no key 'amuont'.*allowed: amount"):
        build(config, **{'model.post_processors.1.amuont': 0.3})
