"""The page first_real_run.md: lines that need no network are run, on a miniature of the data set; of the others, syntax and
names are checked.
"""
import ast
import re
import runpy
import shlex
import shutil
import subprocess
from argparse import ArgumentParser
from pathlib import Path

import open_clip
import pytest
import timm
from torchvision.datasets import voc

from ovseg.cli import main, reproduce
from ovseg.models.towers.loading import describe_tower
from ovseg.reproduce.measure import TOLERANCE
from ovseg.reproduce.presets import find_presets

NAME = 'docs/first_real_run.md'
ROOT, read, commands = map(runpy.run_path(str(Path(__file__).parent / 'pages.py')).get, ('ROOT', 'read', 'commands'))
MAKE, ACTIVATE, ENV, DEMO, *WEIGHTS, MKDIR, CURL, MD5, TAR, CHECK, SUBSET, WHOLE, PREDICT, GATED, ALL = commands(NAME)
TINY = ['--cfg-options', 'model.clip.name=ovseg-tiny-clip', 'model.clip.pretrained=embedded',
        'model.vocabulary.templates=plain', 'test_dataloader.num_workers=0',
        'test_dataloader.dataset.pipeline.1.scale=(256,64)']


@pytest.fixture
def data(shell):
    """A miniature of the data set where the page extracts it."""
    runpy.run_path(str(ROOT / 'tests' / 'miniatures.py'))['draw']('voc20', Path('data'), [0, 1, 2])
    return shell


def test_every_line_is_the_syntax_of_a_shell():
    for line in commands(NAME):
        subprocess.run(['bash', '-n', '-c', line], check=True, capture_output=True)


def test_the_installation(shell):
    assert 'tools/demo.py' in shell.run(MAKE)
    assert ACTIVATE == '. .venv/bin/activate' and 'VENV := .venv\n' in (ROOT / 'Makefile').read_text()
    assert '| demo/gated_tiny-clip_demo |' in shell.run(DEMO)
    shell.run(ENV)


def test_a_command_downloads_each_network_of_the_table():
    downloaded = []
    for command in WEIGHTS:
        program, option, code = shlex.split(command)
        assert (program, option) == ('python', '-c')
        call = ast.parse(code).body[1].value
        assert ast.unparse(call.func) in ('open_clip.create_model', 'timm.create_model')
        name, *tag = (argument.value for argument in call.args)
        if not tag:
            assert [(each.arg, each.value.value) for each in call.keywords] == [('pretrained', True)]
        downloaded.append((name, tag[0] if tag else '–'))
    rows = re.findall(r'^\| [^|]+ \| `(\S+)` \| (\S+) \| [\d.]+ GB \| ', read(NAME), flags=re.MULTILINE)
    assert downloaded == [(name, tag.strip('`')) for name, tag in rows]


def test_networks_are_those_of_open_clip_and_timm_with_their_sizes():
    rows = re.findall(r'^\| [^|]+ \| `(\S+)` \| (\S+) \| ([\d.]+) GB \| ', read(NAME), flags=re.MULTILINE)
    assert len(rows) == 5
    for name, tag, size in rows:
        if tag == '–':
            assert timm.get_pretrained_cfg(name).hf_hub_id
            parameters = sum(parameter.numel() for parameter in timm.create_model(name, num_classes=0).parameters())
        else:
            assert (name, tag.strip('`')) in open_clip.list_pretrained()
            assert open_clip.get_pretrained_cfg(name, tag.strip('`'))['hf_hub']
            assert describe_tower(name).width == 768
            parameters = 149.6e6  # test_methods.py
        assert float(size) == round(4 * parameters / 1e9, 1)


def test_networks_are_those_of_the_presets():
    used = {'laion2b_s34b_b88k': 'lposs', 'metaclip_fullcc': 'corrclip', 'openai': 'naclip'}
    for tag, method in used.items():
        base = find_presets([f'{method}_vit-b16*_voc20'])[0].config.read_text()
        model = re.search(r'_base_/models/(\S+?\.py)', base)[1]
        assert f"pretrained='{tag}'" in (ROOT / 'configs' / '_base_' / 'models' / model).read_text()


def test_the_archive_is_that_of_torchvision(shell):
    known = voc.DATASET_YEAR_DICT['2012']
    *_, option, target, url = shlex.split(CURL)
    assert option == '--output' and url.split('/pascal/')[1] == known['url'].split('/pascal/')[1]  # its server has changed
    assert re.findall(r'"(\w+)  (\S+)"', MD5) == [(known['md5'], target)]
    assert known['base_dir'].replace('\\', '/').endswith('VOCdevkit/VOC2012') and '`VOCdevkit/VOC2012`' in read(NAME)
    assert shlex.split(MKDIR)[-1] == shlex.split(TAR)[-1] == 'data'


@pytest.mark.skipif(not all(map(shutil.which, ('tar', 'md5sum'))), reason='needs GNU tar and md5sum')
@pytest.mark.usefixtures('checkout')
def test_the_archive_is_extracted_where_the_configs_look(tmp_path):
    (tmp_path / 'VOCdevkit' / 'VOC2012').mkdir(parents=True)
    subprocess.run(shlex.split(MKDIR), check=True)
    subprocess.run(['tar', '--create', '--file', 'data/voc2012.tar', 'VOCdevkit'], check=True)
    subprocess.run(shlex.split(TAR), check=True)
    assert Path('data/VOCdevkit/VOC2012').is_dir()
    failed = subprocess.run(['bash', '-c', MD5], capture_output=True, text=True)
    assert failed.returncode == 1 and 'voc2012.tar: FAILED' in failed.stdout


def test_the_data_set_is_checked(data):
    output = data.run(CHECK, exit_code=1)
    assert re.search(r'images, but 1449 in the published\s+evaluation set', output) and output.count('error') == 1


@pytest.mark.parametrize('command', [SUBSET, WHOLE, GATED])
def test_presets_are_measured(command, data, capfd):
    arguments = shlex.split(command)[1:]
    assert main([*arguments, *TINY]) in (0, 1)  # of the tiny CLIP: not the published score
    row, = (line for line in capfd.readouterr().out.splitlines() if line.startswith(f'| {arguments[1]} |'))
    cells = [cell.strip() for cell in row.strip('|').split('|')]
    preset, = find_presets(arguments[1:2])
    assert cells[1] == ('–' if preset.score is None else str(preset.score)) and float(cells[2]) > 0
    assert 'classes' in cells[6] and (data.folder / 'gated.md').exists() == (command == GATED)


def test_the_other_lines_are_read(shell):
    shell.run(PREDICT)
    parser = ArgumentParser()
    reproduce.add_parser(parser.add_subparsers())
    args = parser.parse_args(shlex.split(ALL)[1:])
    assert len(find_presets(args.presets)) >= 10 and args.out == Path('voc20.md')


def test_the_published_score_and_the_tolerance():
    preset, = find_presets(shlex.split(WHOLE)[2:3])
    assert f'reports **{preset.score}** mIoU on VOC20' in read(NAME)
    assert f'at most {TOLERANCE} points; for a sample' in read(NAME)
