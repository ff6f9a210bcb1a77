"""The page "methods compared": its figures against their sources, and its commands. tests/attack/test_demo_scores.py measures
the scores on the demo scenes.
"""
import csv
import re
import runpy
from itertools import takewhile
from pathlib import Path
from types import SimpleNamespace

import open_clip
import pytest
import timm
import torch

from ovseg.models import CLIPSegmentor
from ovseg.models.upsamplers.jbu_one import JBUOne

NAME = 'docs/methods.md'
ROOT, read, commands = map(runpy.run_path(str(Path(__file__).parent / 'pages.py')).get, ('ROOT', 'read', 'commands'))
TEST, ABLATE, DRAW = commands(NAME)
WITHOUT_ATTENTION = [dict(type='ProxyCLIPEncoder', guide='CLIPGuide'),
                     dict(type='CorrCLIPEncoder', guide='CLIPGuide', regions='SuperpixelRegions', spatial_layers=1)]


def rows(page):
    return [[cell.strip() for cell in line.strip('|').split('|')] for line in read(page).splitlines() if line.startswith('|')]


def name_of(cell):
    """``'[CLIP](...), ours'`` -> ``'CLIP'``."""
    return re.sub(r'\[(.*?)\]\(.*', r'\1', cell)


def table(*header):
    """Rows of the table whose first heads are these."""
    lines = rows(NAME)
    start = next(index for index, row in enumerate(lines) if row[:len(header)] == list(header)) + 2
    return list(takewhile(lambda row: len(row) == len(lines[start]), lines[start:]))


def test_means_are_those_of_the_page_of_benchmarks():
    published = {name_of(row[0]): row[9] for row in rows('docs/benchmarks.md') if len(row) == 11}
    published['ProxyCLIP'] = re.search(r'ProxyCLIP\].*?a mean of ([\d.]+)', read('docs/benchmarks.md'))[1]
    shown = {name_of(row[0]).replace('CorrCLIP, masks', 'CorrCLIP, B/16, masks'): row[1]
             for row in table('method', 'published mean')}
    assert len(shown) == 18
    means = {name: mean for name, mean in shown.items() if mean != '–'}
    assert len(means) == 12
    assert {name: published[name] for name in means} == means
    assert {published.get(name, '–') for name in shown.keys() - means.keys()} == {'–'}


def test_masks_of_trained_networks_are_marked():
    marked = [row[0] for row in table('method', 'published mean') if 'mask network' in row[2]]
    assert len(marked) == 2 and all(name.endswith('†') for name in marked)


def test_every_folder_of_configs_is_linked():
    folders = {path.parent.name for path in ROOT.glob('configs/*/metafile.yml')} - {'demo'}
    assert folders == set(re.findall(r'\(\.\./configs/(\w+)/README\.md', read(NAME)))


def test_sizes_are_those_of_the_networks():
    shown = {row[0]: row[2] for row in table('', 'network')}
    clip = open_clip.create_model('ViT-B-16')
    whole, image_tower = (millions(module) for module in (clip, clip.visual))
    assert {shown[letter] for letter in 'CLM'} == {f'{whole:.1f}, image tower {image_tower:.1f}'}
    with torch.device('meta'):
        for letter, patch in (('D8', 8), ('D16', 16)):
            dino = timm.create_model(f'vit_base_patch{patch}_224.dino', num_classes=0)
            assert shown[letter] == f'{millions(dino):.1f}'
    upsampler = JBUOne()
    upsampler.load(SimpleNamespace(output_width=512))
    assert shown['J'] == f'{millions(upsampler):.2f}'


def millions(module: torch.nn.Module) -> float:
    return sum(parameter.numel() for parameter in module.parameters()) / 1e6


@pytest.mark.parametrize('encoder', WITHOUT_ATTENTION, ids=lambda encoder: encoder['type'])
def test_post_processors_that_can_follow_an_encoder_without_attention(encoder):
    def build(post_processor):
        return CLIPSegmentor(dict(name='ovseg-tiny-clip', pretrained=None), dict(names=['a', 'b']), image_encoder=encoder,
                             post_processors=[post_processor])
    for allowed in ('GlobalDebias', 'CTD', dict(type='OutlierSuppression', detector='norm')):
        build(allowed)
    for refused in ('SelfAttnEnhancement', 'OutlierSuppression'):
        with pytest.raises(ValueError, match=f'{refused} needs the attention'):
            build(refused)


def test_an_attention_is_chosen_by_an_option(shell):
    shell.run(TEST)
    log, = shell.folder.glob('work_dirs/**/*.log')
    assert 'NACLIP' in log.read_text(encoding='utf-8')


def test_all_methods_of_the_table_are_evaluated_in_one_command(shell):
    shell.run(ABLATE)
    results, = shell.folder.glob('work_dirs/ablate_*/table.csv')
    with results.open(encoding='utf-8') as file:
        assert [row['setting'] for row in csv.DictReader(file)] == [row[0] for row in table('setting', 'mIoU')]


def test_the_figure_has_the_methods_of_the_table(shell):
    assert shell.run(DRAW).figure == Path('methods-demo.jpg')
    tool = runpy.run_path(str(ROOT / 'tools' / 'draw_methods.py'))
    baseline, *others = tool['demo_configs']()
    assert [f'{baseline} (baseline)', *others] == [row[0] for row in table('setting', 'mIoU')]
