"""Every command of an installed wheel, from an empty folder: in a virtual environment that sees this one's packages."""
import json
import os
import runpy
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from ovseg.cli import COMMANDS
from ovseg.datasets.demo_scenes_dataset import DEMO_SCENES

PACKAGING = runpy.run_path(str(Path(__file__).with_name('test_packaging.py')))
ROOT, PARTS, WEIGHTS, build = (PACKAGING[name] for name in ('ROOT', 'PARTS', 'WEIGHTS', 'build'))
QUICK = ['--cfg-options', 'model.prompt_templates=plain', 'test_dataloader.num_workers=0']
FEW = 'test_dataloader.dataset.indices=2'
RUNS = {  # arguments, and a part of what is printed
    'predict': (['scene.jpg', '--classes', 'zebra, snow', '--out', 'out'], 'zebra'),
    'demo': (['--out', 'demo'], 'Contact sheet'),
    'test': (['gated_tiny-clip_demo', '--out', 'maps', *QUICK, FEW], 'mIoU'),
    'dist-test': (['gated_tiny-clip_demo', '1', *QUICK, FEW], 'mIoU'),
    'eval': (['gated_tiny-clip_demo', 'to_score', '--cfg-options', 'test_dataloader.num_workers=0', FEW], 'mIoU'),
    'reproduce': (['demo/gated_tiny-clip_demo', '--subset', '12'], 'published'),
    'ablate': (['gated_tiny-clip_demo', '--toggle', 'apply_ctd', '--limit', '1', *QUICK], 'table.csv'),
    'visualize': (['gated_tiny-clip', 'scene.jpg', '--out', 'figures'], 'scores.png'),
    'check-data': (['gated_tiny-clip_demo'], 'Complete.'),
    'convert': (['coco_object', '--help'], 'COCO-Object out of COCO-Stuff'),
    'regions': (['gated_tiny-clip_demo', '--out', 'regions', '--regions', 'type=SuperpixelRegions', 'segments=7',
                 '--cfg-options', FEW], '2 of 2 region maps'),
    'export': (['gated_tiny-clip', '--size', '224x224', '--out', 'model.onnx', *QUICK[:2]], 'labels as in PyTorch: '),
    'configs': (['copy', 'gated_vit-b16', 'own'], 'own/gated_vit-b16_ade20k.py'),
    'list': (['configs', '--paths'], '.mim/configs/gated/gated_vit-b16_ade20k.py'),
    'env': (['--json'], 'not a git checkout'),
    'web': (['--help'], 'usage: ovseg web'),
}


@pytest.fixture(scope='module')
def ovseg(tmp_path_factory):
    """Runs the console command of the wheel in an empty folder."""
    folder = tmp_path_factory.mktemp('installed')
    (folder / 'source').mkdir()
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, folder / 'source' / part)
    (folder / 'source' / WEIGHTS).write_bytes(b'stand-in')  # the real ones take a minute to be compressed
    wheel = build('wheel', folder / 'source', folder / 'dist')
    venv.create(folder / 'venv', with_pip=False, symlinks=True)
    python = folder / 'venv' / 'bin' / 'python'
    site = Path(subprocess.run([python, '-c', 'import sysconfig; print(sysconfig.get_path("purelib"))'], check=True,
                               capture_output=True, text=True).stdout.strip())
    subprocess.run([sys.executable, '-m', 'pip', '--python', str(python), 'install', '--no-deps', '--no-index', '--quiet',
                    str(wheel)], check=True, timeout=300)
    (site / 'packages.pth').write_text(f'{sysconfig.get_path("purelib")}\n')  # behind the wheel
    shutil.copy(ROOT / WEIGHTS, site / WEIGHTS)
    shutil.rmtree(folder / 'source')
    (folder / 'empty').mkdir()
    shutil.copy(DEMO_SCENES / 'images' / '006.jpg', folder / 'empty' / 'scene.jpg')
    environment = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'}

    def run(*arguments):
        ended = subprocess.run([folder / 'venv' / 'bin' / 'ovseg', *arguments], cwd=folder / 'empty', capture_output=True,
                               text=True, timeout=1200, env={**environment, 'CUDA_VISIBLE_DEVICES': '', 'PORT': '29751'})
        assert ended.returncode == 0, ended.stderr
        return ended.stdout
    return run


def test_every_command_is_run_below():
    assert set(RUNS) == set(COMMANDS)


@pytest.mark.slow
@pytest.mark.parametrize('command', RUNS)
def test_a_command(command, ovseg):
    arguments, printed = RUNS[command]
    if command == 'eval':
        ovseg('test', 'gated_tiny-clip_demo', '--out', 'to_score', *QUICK, FEW)
    assert printed in ovseg(command, *arguments)


@pytest.mark.slow
def test_it_is_the_wheel_that_runs(ovseg):
    assert '/venv/lib' in json.loads(ovseg('env', '--json'))['ovseg']
