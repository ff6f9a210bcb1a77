"""``ovseg env``: versions and devices for a bug report."""
import argparse
import importlib.util
import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Dict

from ovseg.compat import EXTENSION
from ovseg.resources import PACKAGE, configs_dir
from ovseg.version import __version__

PACKAGES = ('torchvision', 'open_clip_torch', 'timm', 'safetensors', 'numpy', 'Pillow')


def add_parser(commands: 'argparse._SubParsersAction[argparse.ArgumentParser]') -> None:
    """Add ``env`` to the commands."""
    parser = commands.add_parser('env', description='Print versions and devices, to be pasted into a bug report.')
    parser.add_argument('--json', action='store_true', help='print JSON')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the environment."""
    from rich.console import Console
    from rich.text import Text
    console, environment = Console(), describe()
    if args.json:
        console.print_json(data=environment, ensure_ascii=True)
        return 0
    for key, value in environment.items():
        console.print(Text.assemble((f'{key}:', 'bold'), f' {value}'), soft_wrap=True)
    return 0


def describe() -> Dict[str, str]:
    """Versions of the software, and the devices."""
    import cv2
    import torch
    operators = 'with' if importlib.util.find_spec(EXTENSION) else 'without'
    return {
        'ovseg': f'{__version__} in {PACKAGE}, {_revision(configs_dir().parent)}',
        'python': f'{platform.python_version()} ({platform.python_implementation()})',
        'platform': f'{platform.platform()}, {os.cpu_count()} CPUs',
        'torch': f'{torch.__version__}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}',
        'GPU': _gpus(),
        'mmcv': f'{_either("mmcv", "mmcv-lite")}, {operators} compiled operators',
        'mmengine': _either('mmengine', 'onedl-mmengine'),
        'mmsegmentation': _either('mmsegmentation', 'onedl-mmsegmentation'),
        **{package: _version(package) for package in PACKAGES},
        'opencv': cv2.__version__}


def _revision(folder: Path) -> str:
    """The commit of a checkout, ``-dirty`` where files were changed since."""
    if not (folder / '.git').exists():
        return 'not a git checkout'
    git = shutil.which('git')
    if git is None:
        return 'revision unknown (no git)'
    described = subprocess.run([git, '-C', str(folder), 'describe', '--always', '--dirty'],  # noqa: S603  nothing of a user's
                               capture_output=True, text=True)
    return f'revision {described.stdout.strip() or "unknown: " + described.stderr.strip()}'


def _gpus() -> str:
    """Names and memory of the GPUs that torch can use."""
    import torch
    gpus = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return '; '.join(f'{gpu.name}, {gpu.total_memory / 2 ** 30:.0f} GiB' for gpu in gpus) or 'none that torch can use'


def _either(*distributions: str) -> str:
    """Names and versions of those distributions of one module that are installed; more than one is a mistake."""
    return ' and '.join(f'{name} {_version(name)}' for name in distributions if _version(name) != 'not installed')


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return 'not installed'
