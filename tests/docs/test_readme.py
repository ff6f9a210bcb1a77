"""The Python of README.md; its commands are run in test_every_page.py."""
import ast
import re
import runpy
from itertools import takewhile
from pathlib import Path

import pytest
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS
from PIL import Image

import ovseg

PAGE = 'README.md'
ROOT = Path(ovseg.__file__).parents[1]
README = (ROOT / PAGE).read_text(encoding='utf-8')
IN_PYTHON, MODEL, CONFIG = runpy.run_path(str(Path(__file__).parent / 'pages.py'))['texts'](PAGE, 'python')


def test_the_model_is_built():
    namespace = {}
    exec(MODEL, namespace)
    namespace['model']['clip'] = dict(name='ovseg-tiny-clip', pretrained=None)
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(namespace['model'])
    assert [type(module).__name__ for module in model.post_processors.modules] == ['OutlierSuppression', 'CTD']
    assert model.out_channels == 150


def test_python_segments_the_scenes(checkout, capsys):
    exec(compile(IN_PYTHON, PAGE, 'exec'), {})
    name, areas = capsys.readouterr().out.splitlines()[-1].split(maxsplit=1)
    areas = ast.literal_eval(areas)
    assert name == '000' and sum(areas.values()) == pytest.approx(1)
    assert set(areas) <= {'zebra', 'grass', 'water'}
    for path in (checkout / 'ovseg').rglob('*.jpg'):
        with Image.open(path) as scene, Image.open(checkout / 'results' / 'pred' / f'{path.stem}.png') as labels:
            assert labels.size == scene.size


def test_the_config_is_evaluated(shell):
    (shell.folder / 'my_config.py').write_text(CONFIG)
    output = shell.run('ovseg test my_config.py')
    assert 'custom (16 classes, ' in output


def rows(text, heads):
    """The rows of the table whose first heads are these."""
    lines = [[cell.strip() for cell in line.strip('|').split('|')] for line in text.splitlines() if line.startswith('|')]
    start = next(index for index, row in enumerate(lines) if row[:len(heads)] == heads) + 2
    return list(takewhile(lambda row: len(row) == len(lines[start]), lines[start:]))


def test_means_and_cost_of_the_methods_are_those_of_the_page_of_methods():
    page = (ROOT / 'docs' / 'methods.md').read_text(encoding='utf-8')
    names = {'CLIP': 'unmodified CLIP'}
    expected = {}
    for name, mean, _, _, _, cost in rows(page, ['method', 'published mean']):
        name = re.sub(r'\[(.*?)\]\(.*', r'\1', name)
        if '†' not in name:
            expected[names.get(name, name)] = (mean, cost)
    shown = {name: (mean, cost) for name, _, mean, cost in rows(README, ['method', 'frozen networks'])}
    assert shown == expected


def test_the_configs_of_the_ablation_exist_with_the_scores_of_the_page_of_methods():
    page = (ROOT / 'docs' / 'methods.md').read_text(encoding='utf-8')
    measured = dict(re.findall(r'^\| (\w+)(?: \(baseline\))? \| ([\d.]+) \|', page, flags=re.MULTILINE))
    table = rows(README, ['setting', 'config in `configs/demo/`'])
    assert len(table) == 9
    for _, config, score in table:
        config = config.strip('`')
        assert (ROOT / 'configs' / 'demo' / config).is_file()
        name = config.split('_tiny-clip')[0]
        assert float(score) == pytest.approx(float(measured.get(name, score)), abs=0.051)


def test_versions_are_those_of_the_requirements():
    requirements = (ROOT / 'requirements.txt').read_text()
    install = README.split('## Quick')[0]
    for name, version in re.findall(r'(torch|numpy|open_clip|mmseg|mmengine|mmcv-lite)\s([\d.]+\d)', install):
        package = {'mmseg': 'mmsegmentation', 'open_clip': 'open_clip_torch'}.get(name, name)
        assert f'{package}>={version}' in requirements or version == '2.15', name


def test_the_citation_is_an_entry_without_a_paper():
    entry, = runpy.run_path(str(Path(__file__).parent / 'pages.py'))['texts'](PAGE, 'bibtex')
    assert re.fullmatch(r'@misc\{ovseg2026,\n(  \w+=\{.*\},?\n){3}\}\n', entry)
