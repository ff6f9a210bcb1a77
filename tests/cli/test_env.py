import json
import platform
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import ovseg
from ovseg.cli import env, main

needs_git = pytest.mark.skipif(shutil.which('git') is None, reason='needs git')


def output(capsys, *arguments):
    assert main(['env', *arguments]) == 0
    return capsys.readouterr().out


def test_versions_and_places(capsys):
    found = json.loads(output(capsys, '--json'))
    assert found['ovseg'].startswith(f'{ovseg.__version__} in {Path(ovseg.__file__).parent}, ')
    assert found['python'].startswith(platform.python_version())
    assert found['torch'].startswith(f'{torch.__version__}, CUDA {torch.version.cuda}')
    assert found['numpy'] == np.__version__
    assert found['open_clip_torch'] == version('open_clip_torch')


def test_a_line_for_each_never_broken(monkeypatch, capsys):
    monkeypatch.setenv('COLUMNS', '19')
    lines = output(capsys).splitlines()
    assert dict(line.split(': ', 1) for line in lines) == json.loads(output(capsys, '--json'))


def test_gpus(monkeypatch):
    gpus = [SimpleNamespace(name='Large', total_memory=80 * 2 ** 30),
            SimpleNamespace(name='Small', total_memory=6 * 2 ** 30 - 1)]
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: len(gpus))
    monkeypatch.setattr(torch.cuda, 'get_device_properties', gpus.__getitem__)
    assert env.describe()['GPU'] == 'Large, 80 GiB; Small, 6 GiB'


def test_no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 0)
    assert env.describe()['GPU'] == 'none that torch can use'


@pytest.mark.parametrize(('module', 'installed', 'compiled', 'line'), [
    ('mmcv', ('mmcv-lite',), False, 'mmcv-lite 7.5.3, without compiled operators'),
    ('mmcv', ('mmcv',), True, 'mmcv 7.5.3, with compiled operators'),
    ('mmcv', ('mmcv', 'mmcv-lite'), True, 'mmcv 7.5.3 and mmcv-lite 7.5.3, with compiled operators'),
    ('mmengine', ('mmengine',), False, 'mmengine 7.5.3'),
    ('mmengine', ('onedl-mmengine',), False, 'onedl-mmengine 7.5.3'),
    ('mmsegmentation', ('onedl-mmsegmentation',), False, 'onedl-mmsegmentation 7.5.3'),
    ('mmengine', ('mmengine', 'onedl-mmengine'), False, 'mmengine 7.5.3 and onedl-mmengine 7.5.3')])
def test_which_distribution_of_a_module(module, installed, compiled, line, monkeypatch):
    def find(distribution):
        if distribution not in installed:
            raise env.PackageNotFoundError
        return '7.5.3'

    monkeypatch.setattr(env, 'version', find)
    monkeypatch.setattr(env.importlib.util, 'find_spec', lambda name: object() if compiled else None)
    assert env.describe()[module] == line


def test_a_missing_package_is_said_to_be_missing(monkeypatch):
    monkeypatch.setattr(env, 'PACKAGES', ('no-such-package',))
    assert env.describe()['no-such-package'] == 'not installed'


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A git repository with one commit, as the checkout that ovseg runs from, and a function that calls git there."""
    (tmp_path / 'configs').mkdir()
    (tmp_path / 'configs' / 'a.py').write_text('x = 1\n')
    monkeypatch.setattr(env, 'configs_dir', lambda: tmp_path / 'configs')

    def git(*arguments):
        command = ['git', '-C', str(tmp_path), '-c', 'user.name=me', '-c', 'user.email=me@example.org', *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    git('init')
    git('add', '.')
    git('commit', '--message', 'one')
    return tmp_path, git


def revision():
    return env.describe()['ovseg'].rpartition(', ')[2]


@needs_git
def test_revision_of_a_checkout(checkout):
    folder, git = checkout
    commit = git('rev-parse', '--short', 'HEAD')
    assert revision() == f'revision {commit}'
    (folder / 'configs' / 'a.py').write_text('x = 2\n')
    assert revision() == f'revision {commit}-dirty'


@needs_git
def test_a_folder_that_git_refuses(checkout):
    folder, _ = checkout
    (folder / '.git' / 'HEAD').write_text('nonsense')
    assert revision().startswith('revision unknown: fatal: ')


@needs_git
def test_git_is_not_installed(checkout, monkeypatch):
    monkeypatch.setenv('PATH', '')
    assert revision() == 'revision unknown (no git)'


def test_an_installed_package_has_no_revision_even_inside_somebody_s_repository(tmp_path, monkeypatch):
    (tmp_path / '.git').mkdir()
    monkeypatch.setattr(env, 'configs_dir', lambda: tmp_path / 'ovseg' / '.mim' / 'configs')
    assert revision() == 'not a git checkout'
