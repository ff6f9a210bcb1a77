"""The code of the page "add a guide", run as its reader would."""
import runpy
import sys
from pathlib import Path

import pytest
import torch

from ovseg.models.guides import Guide, TimmGuide, build_guide
from ovseg.registry import DENSE_ENCODERS, GUIDES

PAGE = 'docs/add_guide.md'
texts, commands, read = map(runpy.run_path(str(Path(__file__).parent / 'pages.py')).get, ('texts', 'commands', 'read'))
MODULE, CONFIG = texts(PAGE, 'python')
SETTING, COMMAND = commands(PAGE)


@pytest.fixture
def files(checkout):
    """The page's module and that of "add a dense encoder", and beside them the page's config, whose path this is."""
    (checkout / 'guided.py').write_text(texts('docs/add_dense_encoder.md', 'python')[0])
    (checkout / 'colours.py').write_text(MODULE)
    (checkout / 'my_config.py').write_text(CONFIG)
    yield checkout / 'my_config.py'
    for name in ('guided', 'colours'):
        sys.modules.pop(name, None)
    DENSE_ENCODERS._module_dict.pop('GuidedEncoder', None)
    GUIDES._module_dict.pop('Colours', None)


def test_the_types_of_the_table_are_those_of_the_registry():
    rows = [line.split('`')[1] for line in read(PAGE).splitlines() if line.startswith('| `')]
    assert set(rows) == {name for name, type_ in GUIDES.module_dict.items() if type_.__module__.startswith('ovseg.')}


def test_the_setting_is_taken():
    guide = build_guide('guide', eval(f'dict({SETTING})')['guide'])
    assert guide == TimmGuide('vit_base_patch8_224.dino', features='k') and isinstance(guide, Guide)


@pytest.mark.usefixtures('files')
def test_the_command_evaluates_the_config(shell):
    shell.run(COMMAND)
    assert 'Colours' in GUIDES.module_dict


def test_it_gives_the_colours_of_patches(build):
    segmentor, rgb = build(), torch.rand(2, 3, 48, 80)
    guide = segmentor.image_encoder.guide
    patches, grid_size = segmentor.batch((rgb - segmentor.mean) / segmentor.std).guide(guide)
    assert grid_size == (6, 10) and guide.constant == 0.2 and guide.patch_size == (8, 8)
    corners = [(y, x) for y in range(0, 48, 8) for x in range(0, 80, 8)]
    expected = torch.stack([rgb[:, :, y:y + 8, x:x + 8].mean(dim=(2, 3)) for y, x in corners], dim=1)
    torch.testing.assert_close(patches[..., :3], expected, atol=1e-5, rtol=1e-4)
    assert (patches[..., 3] == 0.2).all()
    assert segmentor.embed(torch.randn(2, 3, 48, 80)).grid_size == (6, 10)
    assert segmentor.predict([torch.randn(3, 61, 97)])[0].pred_sem_seg.data.shape == (1, 61, 97)


def test_windows_that_its_patch_does_not_fit_are_refused(build):
    with pytest.raises(ValueError, match=r'Colours\(constant=0.2\): its patch of 8 pixels does not fit windows of 61 pixels'):
        build(**{'model.windows.crop': 61, 'model.windows.stride': 31, 'model.windows.pad_mode': 'none'})
