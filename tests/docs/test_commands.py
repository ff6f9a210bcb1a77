"""docs/commands.md: its tables, its examples and its config."""
import re
import runpy
from pathlib import Path

import pytest
from mmengine.config import Config

from ovseg.cli import COMMANDS

PAGE = 'docs/commands.md'
PAGES = runpy.run_path(str(Path(__file__).parent / 'pages.py'))
TEXT, (OWN,) = PAGES['read'](PAGE), PAGES['texts'](PAGE, 'python')
ROWS = re.findall(r'^\| `([\w-]+)` \| (.*) \| `(ovseg .*)` \|$', TEXT, flags=re.MULTILINE)


def test_every_command_is_in_the_table_with_its_own_line():
    assert [name for name, *_ in ROWS] == list(COMMANDS)
    for name, description, example in ROWS:
        plain = re.sub(r'\[(.*?)\]\(.*?\)', r'\1', description)
        assert COMMANDS[name].startswith(plain.split(' annotations')[0]) and example.split()[1] == name


@pytest.mark.parametrize('example', [example for *_, example in ROWS])
def test_the_example_is_accepted(example, shell):
    shell.parse(example)


def test_the_config_works_in_any_folder(tmp_path):
    (tmp_path / 'own.py').write_text(OWN)
    cfg = Config.fromfile(tmp_path / 'own.py')
    assert cfg.model.type == 'CLIPSegmentor' and cfg.model.decoder.logit_scale == 50 and cfg.model.clip.pretrained == 'openai'
