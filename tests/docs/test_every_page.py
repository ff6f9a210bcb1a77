"""Every block of code on every page is run: by its page's own test, counted here, or, if it is a command, below."""
import re
import runpy
from collections import Counter
from pathlib import Path

import pytest
import torch
from packaging.version import Version

HERE = Path(__file__).parent
PAGES, blocks, commands, prose = map(runpy.run_path(str(HERE / 'pages.py')).get, ('PAGES', 'blocks', 'commands', 'prose'))
# Where a page's own test runs its commands, too, they are counted.
OWN_TESTS = {
    'README.md': ('test_readme.py', dict(python=3, bibtex=1)),
    'docs/ablate.md': ('test_ablate.py', dict(command=5, text=1, yaml=1)),
    'docs/add_a_post_processor.md': ('test_add_a_post_processor.py', dict(command=1, python=2)),
    'docs/add_an_attention.md': ('test_add_an_attention.py', dict(command=1, python=2)),
    'docs/add_dense_encoder.md': ('test_add_dense_encoder.py', dict(command=1, python=2)),
    'docs/add_guide.md': ('test_add_guide.py', dict(command=2, python=2)),
    'docs/add_regions.md': ('test_add_regions.py', dict(command=1, python=2)),
    'docs/add_upsampler.md': ('test_add_upsampler.py', dict(command=1, python=2)),
    'docs/add_image_tower.md': ('test_add_image_tower.py', dict(python=2)),
    'docs/api.md': ('test_api.py', dict(python=6, text=6)),
    'docs/benchmarks.md': ('test_benchmarks.py', dict(command=11)),
    'docs/commands.md': ('test_commands.py', dict(python=1)),
    'docs/corpus.md': ('test_corpus.py', dict(command=7, python=1, text=1)),
    'docs/export.md': ('test_export.py', dict(command=3, python=1, text=2)),
    'docs/datasets.md': ('test_datasets.py', dict(python=1)),
    'docs/first_real_run.md': ('test_first_real_run.py', dict(command=19)),
    'docs/index.md': ('test_index.py', dict(command=2, python=1, text=2)),
    'docs/mess.md': ('test_mess.py', dict(command=6)),
    'docs/methods.md': ('test_methods.py', dict(command=3)),
    'docs/own_dataset.md': ('test_own_dataset.py', dict(command=6, python=1)),
    'docs/own_images.md': ('test_own_images.py', dict(command=2, python=5, text=5)),
    'docs/settings.md': ('test_settings.py', dict(python=3)),
    'docs/words.md': ('test_words.py', dict(command=3, python=1, text=1)),
    'docs/visualize.md': ('../tools/test_visualize.py', dict(command=2, python=1)),
    **{f'configs/{method}/README.md': ('test_config_readmes.py', dict(bibtex=1))
       for method in ('clearclip', 'clip', 'corrclip', 'lposs', 'maskclip', 'naclip', 'proxyclip', 'resclip', 'scclip',
                      'sclip', 'segearth_ov')}}
COMMANDS = {command: page for page in PAGES if 'command' not in OWN_TESTS.get(page, ('', {}))[1] for command in commands(page)}


@pytest.mark.parametrize('page', PAGES)
def test_own_tests_run_what_is_not_run_below(page):
    test, counts = OWN_TESTS.get(page, (None, {}))
    found = Counter(block.kind for block in blocks(page) if block.kind != 'drawn')
    if 'command' not in counts:
        del found['command']
    assert found == counts, f'{page} has other blocks than its test ({test}) runs: run them there, then count them here'
    assert test is None or Path(page).name in (HERE / test).read_text()


@pytest.mark.parametrize('command', COMMANDS, ids=lambda command: f'{COMMANDS[command]}: {command}')
def test_the_command_runs(command, shell):
    if 'train_tiny_clip' in command and Version(torch.__version__) < Version('2.3'):
        pytest.skip("this torch refuses the mask of open_clip's text tower under autocast")
    shell.run(command)


@pytest.mark.parametrize('page', PAGES)
def test_no_block_is_overlooked(page):
    assert not re.search(r'^ *(```|~~~)|^ *\t|^    .', prose(page), flags=re.MULTILINE)


def test_blocks_are_told_apart(tmp_path):
    (tmp_path / 'page.md').write_text("""Text
    that goes on.

    python one.py  # a comment
    two --long \\
        --line

- `inline
  code`

    x_i ← x_i / x_ij

    data
    └── folder

```bash
three
```
```python
def four():

    pass
```
""")
    assert blocks(tmp_path / 'page.md') == [
        ('command', 'python one.py  # a comment'), ('command', 'two --long --line'), ('drawn', '    x_i ← x_i / x_ij\n'),
        ('drawn', '    data\n    └── folder\n'), ('command', 'three'), ('python', 'def four():\n\n    pass\n')]
