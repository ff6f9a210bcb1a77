"""The page "benchmarks" against the metafiles, the base configs and the files it names; its commands, run on miniatures."""
import contextlib
import io
import re
import runpy
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from mmengine.config import Config
from PIL import Image
from scipy.io import savemat

from ovseg.sets import FAMILIES

NAME = 'docs/benchmarks.md'
ROOT, read, commands = map(runpy.run_path(str(Path(__file__).parent / 'pages.py')).get, ('ROOT', 'read', 'commands'))
PAGE = read(NAME)
EXPORT, CHECK, TEST, CONVERTERS, *REST = commands(NAME)
OF_MMSEG = [command for command in REST if '$CONVERTERS' in command]
OURS = [command for command in REST if command not in OF_MMSEG]
ROWS = [[cell.strip() for cell in line.strip('|').split('|')] for line in PAGE.splitlines() if line.startswith('|')]


def published():
    """``(method, data set) -> mIoU`` of the metafiles, for the eight sets of the page's table."""
    models = [model for path in ROOT.glob('configs/*/metafile.yml') for model in yaml.safe_load(path.read_text())['Models']]
    return {(model['Name'].split('_vit')[0], result['Dataset']): result['Metrics']['mIoU'] for model in models
            for result in model['Results'] if 'Metrics' in result and result['Dataset'] not in ('COCO-Stuff10k', 'demo scenes')}


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
    for row in FAMILIES['standard']:
        path = ROOT / 'configs' / '_base_' / 'datasets' / f'{row.name}.py'
        dataset = Config.fromfile(path).test_dataloader.dataset
        root = dataset.data_root[len('data/'):]
        for part in [*dataset.data_prefix.values(), *filter(None, [dataset.get('ann_file')])]:
            assert any(f'{root}/{part}' in found for found in tree()), f'{root}/{part} of {path.name}'


def tree():
    """The paths of the tree of folders, ``VOCdevkit/VOC2012/JPEGImages/*.jpg`` and so on, with what stands behind them."""
    remarks, parents = {}, []
    for indent, name, remark in re.findall(r'^    ((?:│   |    )*)[├└]── (\S+)(.*)$', PAGE, flags=re.MULTILINE):
        parents[len(indent) // 4:] = [name]
        remarks['/'.join(parents)] = remark.strip()
    return remarks


def test_a_benchmark_is_looked_for_where_the_variable_says_and_evaluated(shell, monkeypatch):
    variable, folder = re.fullmatch(r'export (\w+)=(\S+) .*', EXPORT).groups()
    monkeypatch.setenv(variable, f'{shell.folder}{folder}')
    output = shell.run(CHECK, exit_code=1)
    assert re.search(r'there are 5 images, but 1449 in the published\s+evaluation set', output) and output.count('error') == 1
    shell.run(TEST)
    assert not Path('data').exists()


@pytest.mark.parametrize('command', OF_MMSEG)
def test_the_converters_of_mmseg_take_these_arguments(command, monkeypatch):
    code, rest = re.fullmatch(r"CONVERTERS=\$\(python -c '(.*)'\)(.*)", CONVERTERS).groups()
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code)
    _, tool, *arguments = shlex.split(command.replace('$CONVERTERS', printed.getvalue().strip() + rest), comments=True)
    stand_in = SimpleNamespace(Detail=None, json2labelImg=None)  # what the page says some of them need
    for module in ('detail', 'cityscapesscripts', *(f'cityscapesscripts.preparation{name}' for name in ('', '.json2labelImg'))):
        monkeypatch.setitem(sys.modules, module, stand_in)
    monkeypatch.setattr(sys, 'argv', [tool, *arguments])
    folder = Path(next(iter(vars(runpy.run_path(tool)['parse_args']()).values()))).relative_to('data')
    assert any(path.startswith(folder.as_posix()) for path in tree())


def raw_data():
    """An image of each set that is converted by us, as its archive has it."""
    stuff, ade, voc = Path('data/coco_stuff164k'), Path('data/ADE20K_2021_17_01'), Path('data/VOCdevkit/VOC2010')
    zeros = np.zeros((31, 37, 3), np.uint8)
    for path, pixels in ((stuff / 'images/val2017/000000000139.jpg', zeros),
                         (stuff / 'annotations/val2017/000000000139.png', zeros[..., 0]),
                         (ade / 'images/ADE/validation/urban/street/ADE_val_00000001.jpg', zeros),
                         (ade / 'images/ADE/validation/urban/street/ADE_val_00000001_seg.png', zeros),
                         (voc / 'JPEGImages/2008_000002.jpg', zeros)):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    for folder in ('trainval', 'ImageSets/SegmentationContext'):
        (voc / folder).mkdir(parents=True)
    savemat(voc / 'trainval/2008_000002.mat', dict(LabelMap=zeros[..., 0].astype(np.uint16)))
    (voc / 'ImageSets/SegmentationContext/val.txt').write_text('2008_000002\n')


@pytest.mark.parametrize('command', OURS)
def test_our_converters_write_what_the_tree_shows(command, shell):
    letter, = re.findall(r'# (\w)', command)
    raw_data()
    before = set(Path('data').rglob('*'))
    shell.run(command)
    written = {path for path in set(Path('data').rglob('*')) - before if path.suffix in ('.jpg', '.png', '.tif')}
    shown = [path for path, remark in tree().items() if remark.startswith(f'({letter}')]
    assert written and all(any(path.match(pattern) for pattern in shown) for path in written)
