"""The citations in configs/*/README.md, and options for the configs beside them."""
import re
import runpy
from pathlib import Path

import pytest

from ovseg.config import read_config
from ovseg.models.guides import build_guide
from ovseg.models.regions import build_regions

PAGES, inline, read, texts = map(runpy.run_path(str(Path(__file__).parent / 'pages.py')).get,
                                 ('PAGES', 'inline', 'read', 'texts'))
ENTRIES = [(page, entry) for page in PAGES if page != 'README.md' for entry in texts(page, 'bibtex')]


@pytest.mark.parametrize('page, entry', ENTRIES, ids=[page for page, _ in ENTRIES])
def test_bibtex_can_be_read_and_is_of_the_paper_that_is_linked(page, entry):
    kind, _, body = re.fullmatch(r'@(\w+)\{(\w+),\n(.*\n)\}\n', entry, flags=re.DOTALL).groups()
    lines = [re.fullmatch(r'  (\w+)=\{([^{}]+)\}(,?)', line) for line in body.splitlines()]
    assert [line[3] for line in lines] == [','] * (len(lines) - 1) + ['']
    fields = {line[1]: line[2] for line in lines}
    assert set(fields) == {'title', 'author', 'year', dict(inproceedings='booktitle', article='journal')[kind]}
    assert f'[{fields["title"]}](https://' in read(page)


@pytest.mark.parametrize(('method', 'key', 'build', 'options'), [
    ('proxyclip', 'guide', build_guide, {'.model': ['vit_base_patch14_reg4_dinov2.lvd142m', 'vit_base_patch16_224.mae',
                                                    'samvit_base_patch16.sa1b']}),
    ('corrclip', 'regions', build_regions, {'.root': ['FOLDER'], '.type': ['SuperpixelRegions']})])
def test_options_change_the_config_of_the_command(method, key, build, options, shell):
    page = f'configs/{method}/README.md'
    for place, values in options.items():
        option = f'model.image_encoder.{key}{place}'
        assert any(code.endswith(f'{option}={values[0]}') for code in inline(page)) and set(values[1:]) <= set(inline(page))
        for value in values:
            config = f'configs/{method}/{method}_vit-b16_voc21.py'
            args = shell.parse(f'python tools/test.py {config} --cfg-options {option}={value}')
            found = build(key, read_config(args.config, args.cfg_options).model.image_encoder[key])
            assert value in (type(found).__name__, getattr(found, place[1:], None))
