"""Metafiles list every preset, with the published score that its first lines and its folder's README give.

That of the demo has measured scores, which are those of the table in docs/methods.md.
"""
import re
from pathlib import Path

import pytest
import yaml

from ovseg.resources import config_names
from ovseg.sets import FAMILIES

ROOT = Path(__file__).parents[2]
METAFILES = sorted(path.parent.name for path in ROOT.glob('configs/*/metafile.yml') if path.parent.name != 'demo')
DATASETS = dict(voc21='VOC21', voc20='VOC20', context60='Context60', context59='Context59', coco_object='COCO-Object',
                coco_stuff164k='COCO-Stuff164k', cityscapes='Cityscapes', ade20k='ADE20K', ade20k_847='ADE20K-847',
                context459='Context-459', coco_stuff10k='COCO-Stuff10k',
                **{row.name: row.title for family in ('remote sensing', 'MESS') for row in FAMILIES[family]})


def read(method):
    return yaml.safe_load((ROOT / 'configs' / method / 'metafile.yml').read_text())


def test_index_imports_every_metafile():
    imports = yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']
    assert sorted(imports) == [f'configs/{method}/metafile.yml' for method in sorted([*METAFILES, 'demo'])]


def test_every_folder_of_presets_has_a_metafile():
    assert sorted({path.parent.name for path in ROOT.glob('configs/*/*_vit-*.py')}) == METAFILES


def test_scores_of_the_demo_are_those_of_the_table_of_methods_and_not_called_published():
    metafile = read('demo')
    assert metafile['Collections'][0]['Metadata']['Scores'] == 'measured with ovseg'
    page = (ROOT / 'docs' / 'methods.md').read_text().split('## On the demo scenes')[1]
    shown = dict(re.findall(r'^\| (\w+)(?: \(baseline\))? \| ([\d.]+) \|', page, flags=re.MULTILINE))
    assert {model['Config']: model['Results'][0]['Metrics']['mIoU'] for model in metafile['Models']} == {
        f'configs/demo/{name}_tiny-clip_demo.py': float(score) for name, score in shown.items()}
    assert len(shown) == len(list(ROOT.glob('configs/demo/*_demo.py')))


@pytest.mark.parametrize('method', METAFILES)
def test_lists_exactly_the_presets_of_its_folder(method):
    metafile = read(method)
    collection, = metafile['Collections']
    assert (ROOT / collection['README']).is_file()
    assert {model['In Collection'] for model in metafile['Models']} == {collection['Name']}
    assert sorted(model['Config'] for model in metafile['Models']) == sorted(
        path.relative_to(ROOT).as_posix() for path in ROOT.glob(f'configs/{method}/*.py'))


@pytest.mark.parametrize('method', METAFILES)
def test_scores_are_those_of_the_configs(method):
    for model in read(method)['Models']:
        assert model['Name'] == Path(model['Config']).stem
        result, = model['Results']
        assert model['Name'].endswith('_' + next(key for key, name in DATASETS.items() if name == result['Dataset']))
        score = re.match(r'# ([\d.]+) mIoU published; ', (ROOT / model['Config']).read_text().splitlines()[1])
        assert (float(score[1]) if score else None) == result.get('Metrics', {}).get('mIoU')


@pytest.mark.parametrize('method', METAFILES)
def test_readme_names_a_config_that_exists_and_the_same_scores(method):
    readme = (ROOT / 'configs' / method / 'README.md').read_text()
    commands = re.findall(r'ovseg test (\S+)', readme)
    assert commands and set(commands) <= set(config_names())
    assert 'not yet measured on real weights' in readme.lower()
    columns = next((line.strip('| ').split(' | ')[1:-1] for line in readme.splitlines() if line.startswith('| mIoU')), [])
    rows = [line.strip('| ').split(' | ') for line in readme.splitlines() if line.startswith('| published')]
    scores = {(model['Name'].split('_vit')[0], model['Results'][0]['Dataset']): model['Results'][0]['Metrics']['mIoU']
              for model in read(method)['Models'] if 'Metrics' in model['Results'][0]}
    names = [method, f'{method}-pamr'][:len(rows)]
    shown = {(name, column): float(value) for name, row in zip(names, rows) for column, value in zip(columns, row[1:-1])}
    assert shown == {key: value for key, value in scores.items() if key[1] != 'COCO-Stuff10k'}
    for row in rows:
        assert abs(sum(map(float, row[1:-1])) / 8 - float(row[-1])) < 0.0501
