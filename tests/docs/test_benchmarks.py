"""The page "benchmarks" against the metafiles, the base configs and the files it names."""
import re
from pathlib import Path

import yaml
from mmengine.config import Config

import ovseg

ROOT = Path(ovseg.__file__).parents[1]
PAGE = (ROOT / 'docs' / 'benchmarks.md').read_text()
ROWS = [[cell.strip() for cell in line.strip('|').split('|')] for line in PAGE.splitlines() if line.startswith('|')]


def published():
    """``(method, data set) -> mIoU`` of the metafiles, for the eight sets of the page's table."""
    models = [model for path in ROOT.glob('configs/*/metafile.yml') for model in yaml.safe_load(path.read_text())['Models']]
    return {(model['Name'].split('_vit')[0], result['Dataset']): result['Metrics']['mIoU'] for model in models
            for result in model['Results'] if 'Metrics' in result and result['Dataset'] != 'COCO-Stuff10k'}


def test_scores_are_those_of_the_metafiles():
    columns = next(row for row in ROWS if row[1:2] == ['VOC21'])[1:9]
    shown = {}
    for row in ROWS:
        link = re.match(r'\[.*\]\(\.\./configs/(\w+)/README\.md\)', row[0])
        if link and 'ours' not in row[0]:
            method = link[1] + ('-pamr' if 'PAMR' in row[0] else '')
            shown.update({(method, column): float(value) for column, value in zip(columns, row[1:9])})
            assert abs(sum(map(float, row[1:9])) / 8 - float(row[9])) < 0.0501
    assert shown == published()


def test_ours_are_said_to_be_unmeasured():
    ours = [row for row in ROWS if row[0].endswith(', ours')]
    assert len(ours) == 2
    assert all(set(row[1:10]) == {'–'} and row[10] == 'not yet measured on real weights' for row in ours)


def test_files_and_links_exist():
    named = re.findall(r'(?:tools|tests|configs)/[\w/.-]+\.(?:py|sh|md)', PAGE)
    assert len(named) > 10
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_tree_has_the_folders_of_the_base_configs(monkeypatch):
    monkeypatch.delenv('DATA_ROOT', raising=False)
    tree = tree_paths(PAGE)
    for path in (ROOT / 'configs' / '_base_' / 'datasets').glob('*.py'):
        dataset = Config.fromfile(path).test_dataloader.dataset
        if dataset.type == 'DemoScenesDataset':
            continue
        root = dataset.data_root[len('data/'):]
        for part in [*dataset.data_prefix.values(), *filter(None, [dataset.get('ann_file')])]:
            assert any(f'{root}/{part}' in found for found in tree), f'{root}/{part} of {path.name}'


def tree_paths(page):
    """The paths of the tree of folders, ``VOCdevkit/VOC2012/JPEGImages/*.jpg`` and so on."""
    paths, parents = [], []
    for line in page.splitlines():
        entry = re.match(r'    ((?:│   |    )*)[├└]── (\S+)', line)
        if entry:
            depth = len(entry[1]) // 4
            parents[depth:] = [entry[2]]
            paths.append('/'.join(parents))
    return paths
