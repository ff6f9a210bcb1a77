"""Files that ``pip install .`` installs, built without network by the setuptools of this environment."""
import json
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from configparser import ConfigParser
from email import message_from_bytes
from pathlib import Path

import pytest
from mmengine.config import Config
from packaging.requirements import Requirement

import ovseg
from ovseg.cli import main

ROOT = Path(__file__).parents[1]
PARTS = ('configs', 'ovseg', 'tests', 'tools', 'CHANGELOG.md', 'LICENSE', 'MANIFEST.in', 'README.md', 'model-index.yml',
         'pyproject.toml', 'requirements.txt', 'setup.py')
WEIGHTS = 'ovseg/models/towers/tiny_clip/ovseg-tiny-clip.safetensors'
INFO = f'ovseg-{ovseg.__version__}.dist-info/'


def run(command, folder, **variables):
    """In a process of its own; what it prints on both channels."""
    environment = {key: value for key, value in os.environ.items() if key != 'PYTHONDONTWRITEBYTECODE'}
    return subprocess.run([sys.executable, *command], cwd=folder, env={**environment, **variables}, capture_output=True,
                          text=True, timeout=300)


def build(kind, source, target):
    """A wheel or sdist of the checkout ``source``; a warning is an error, whether raised or printed."""
    code = f'import sys; from setuptools import build_meta; build_meta.build_{kind}(sys.argv[1])'
    target.mkdir(exist_ok=True)
    finished = run(['-W', 'error', '-c', code, str(target)], source)
    assert finished.returncode == 0, finished.stderr
    assert not re.search('warning:', finished.stdout + finished.stderr, re.IGNORECASE)
    archive, = target.iterdir()
    return archive


def wheel_contents(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def files_in(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob('*')
            if path.is_file() and '__pycache__' not in path.parts}


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    """A copy of the checkout, with the leftovers of Python that a used one has."""
    folder = tmp_path_factory.mktemp('checkout')
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns('__pycache__'))
        else:
            shutil.copy(ROOT / part, folder / part)
    (folder / WEIGHTS).write_bytes(b'stand-in')  # the real ones take a minute to be compressed
    for used in ('configs', 'ovseg', 'tools'):
        (folder / used / '__pycache__').mkdir()
        (folder / used / '__pycache__' / 'left.cpython-311.pyc').write_bytes(b'over')
    return folder


@pytest.fixture(scope='module')
def wheel(source, tmp_path_factory):
    return build('wheel', source, tmp_path_factory.mktemp('wheel'))


@pytest.fixture(scope='module')
def sdist(source, tmp_path_factory):
    return build('sdist', source, tmp_path_factory.mktemp('sdist'))


@pytest.fixture(scope='module')
def installed(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp('site-packages')
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)  # noqa: S202  we have just written it
    return folder


def test_the_wheel_is_the_package_with_configs_tools_and_model_index_and_nothing_else(source, wheel):
    expected = {f'ovseg/{name}': content for name, content in files_in(source / 'ovseg').items()}
    for folder in ('configs', 'tools'):
        expected.update({f'ovseg/.mim/{folder}/{name}': content for name, content in files_in(source / folder).items()})
    expected['ovseg/.mim/model-index.yml'] = (source / 'model-index.yml').read_bytes()
    contents = {name: content for name, content in wheel_contents(wheel).items() if not name.startswith(INFO)}
    assert sorted(contents) == sorted(expected)
    assert contents == expected


def test_the_wheel_has_one_of_each(wheel):
    names = ('py.typed', 'vocabulary/resources/ade20k.txt', 'datasets/resources/demo_scenes/images/059.jpg',
             '.mim/configs/_base_/default_runtime.py', '.mim/configs/gated/README.md', '.mim/configs/gated/metafile.yml',
             '.mim/tools/test.py')
    assert {WEIGHTS, *(f'ovseg/{name}' for name in names)} <= wheel_contents(wheel).keys()


def test_shell_scripts_stay_executable(wheel):
    with zipfile.ZipFile(wheel) as archive:
        modes = {entry.filename: entry.external_attr >> 16 for entry in archive.infolist()}
    scripts = [name for name in modes if name.endswith('.sh')]
    assert len(scripts) >= 2 and all(modes[name] & 0o111 == 0o111 for name in scripts)


def test_metadata(wheel):
    contents = wheel_contents(wheel)
    metadata = message_from_bytes(contents[f'{INFO}METADATA'])
    assert (metadata['Name'], metadata['Version']) == ('ovseg', ovseg.__version__)
    lines = (ROOT / 'requirements.txt').read_text().splitlines()
    assert {Requirement(line) for line in metadata.get_all('Requires-Dist') if 'extra ==' not in line} == \
        {Requirement(line) for line in lines if line and not line.startswith('#')}
    assert metadata.get_payload(decode=True).decode() == (ROOT / 'README.md').read_text(encoding='utf-8')
    assert any(name.startswith(INFO) and name.endswith('LICENSE') for name in contents)


def test_the_console_script_is_the_command(wheel):
    scripts = ConfigParser()
    scripts.read_string(wheel_contents(wheel)[f'{INFO}entry_points.txt'].decode())
    assert pkgutil.resolve_name(scripts['console_scripts']['ovseg']) is main


def test_the_source_distribution_builds_the_same_wheel(wheel, sdist, tmp_path):
    with tarfile.open(sdist) as archive:
        assert not [name for name in archive.getnames() if name.split('/')[1:2] == ['tests'] or name.endswith('.pyc')]
        archive.extractall(tmp_path)  # noqa: S202  we have just written it
    unpacked, = tmp_path.iterdir()
    assert wheel_contents(build('wheel', unpacked, tmp_path / 'dist')) == wheel_contents(wheel)


def test_building_leaves_the_package_s_source_alone(source, wheel):
    assert not (source / 'ovseg' / '.mim').exists()


def test_it_works_from_where_it_is_installed(installed, tmp_path):
    finished = run(['-m', 'ovseg', 'list', '--json'], tmp_path, PYTHONPATH=str(installed))
    assert finished.returncode == 0, finished.stderr
    found = json.loads(finished.stdout)
    packaged = installed / 'ovseg' / '.mim' / 'configs'
    assert {entry['path'] for entry in found['configs']} == {str(path) for path in packaged.glob('[!_]*/**/*.py')}
    assert {entry['name'] for entry in found['class-lists']} == {
        path.stem for path in (ROOT / 'ovseg' / 'vocabulary' / 'resources').glob('*.txt')}
    demo, = [entry['path'] for entry in found['configs'] if entry['name'] == 'demo/gated_tiny-clip_demo.py']
    cfg = Config.fromfile(demo, import_custom_modules=False)
    assert cfg.model.type == 'CLIPSegmentor' and cfg.test_dataloader.dataset.type == 'DemoScenesDataset'
