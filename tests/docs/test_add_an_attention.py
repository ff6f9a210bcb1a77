"""The code of the page "add an attention", run as its reader would."""
import runpy
import sys
from pathlib import Path

import pytest
import torch

from ovseg.registry import ATTENTIONS

PAGE = 'docs/add_an_attention.md'
texts, commands = map(runpy.run_path(str(Path(__file__).parent / 'pages.py')).get, ('texts', 'commands'))
MODULE, CONFIG = texts(PAGE, 'python')


@pytest.fixture
def files(checkout):
    """The page's module, and beside it the page's config, whose path this is."""
    (checkout / 'cubic.py').write_text(MODULE)
    (checkout / 'cubic_config.py').write_text(CONFIG)
    yield checkout / 'cubic_config.py'
    sys.modules.pop('cubic', None)
    ATTENTIONS._module_dict.pop('CubicQQ', None)


@pytest.mark.usefixtures('files')
def test_the_command_evaluates_the_config(shell):
    command, = commands(PAGE)
    shell.run(command)
    assert 'CubicQQ' in ATTENTIONS.module_dict


def test_the_model_attends_as_the_page_says(build):
    encoder = build().image_encoder
    q, k, v = 0.5 * torch.randn(3, 2, 2, 7, 5)  # exp of larger cubes overflows
    bias = torch.randn(2, 1, 7, 7)
    logits = 0.5 * (torch.einsum('bhtd,bhsd->bhts', q, q) * 5 ** -0.5) ** 3 + bias
    torch.testing.assert_close(encoder.attend(q, k, v, (2, 3), bias), logits.exp() / logits.exp().sum(-1, keepdim=True))


def test_its_number_is_a_key_of_the_config(build):
    q = torch.randn(1, 1, 7, 5)
    sharp = build(**{'model.image_encoder.attention.sharpness': 3.0}).image_encoder.attend(q, q, q, (2, 3), None)
    assert not torch.allclose(sharp, build().image_encoder.attend(q, q, q, (2, 3), None))
    with pytest.raises(ValueError, match=r"no key 'sharpnes'.*allowed: scale, sharpness"):
        build(**{'model.image_encoder.attention.sharpnes': 2})
