"""docs/export.md: its commands, its program in a process without torch, and its tables."""
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from packaging.version import Version
from PIL import Image

from ovseg.apis import OVSegInferencer
from ovseg.cli import main
from ovseg.export import onnx_file
from ovseg.export.refusals import LARGEST_FILE, OLDEST_TORCH, OPSET, PACKAGES, check_size
from ovseg.inference.windows import Windows
from ovseg.models.decoder import Decoder

PAGE = 'docs/export.md'
PAGES = runpy.run_path(str(Path(__file__).parent / 'pages.py'))
TEXT, (PROGRAM,), (EXPORTED, PRINTED) = PAGES['read'](PAGE), PAGES['texts'](PAGE, 'python'), PAGES['texts'](PAGE, 'text')
INSTALL, EXPORT, LABEL = PAGES['commands'](PAGE)
# Imports of these fail, so that the program needs neither.
WITHOUT_TORCH = ("import runpy, sys; sys.modules.update(torch=None, ovseg=None, torchvision=None); del sys.argv[0]; "
                 "runpy.run_path(sys.argv[0], run_name='__main__')")


def test_the_extra_is_there(shell):
    shell.parse(INSTALL)


@pytest.mark.skipif(Version(torch.__version__) < Version(OLDEST_TORCH), reason=f'needs torch {OLDEST_TORCH}')
def test_the_file_is_written_and_runs_without_torch(checkout, capsys):
    for package in PACKAGES:
        pytest.importorskip(package, reason='needs the extra "export"')
    words = shlex.split(EXPORT)
    assert main(words[1:]) == 0
    printed = [line for line in capsys.readouterr().out.splitlines() if ' - mmengine - ' not in line]
    figures = r'\d+\.\d+(?=%| MB)'  # another torch may give others
    assert [re.sub(figures, '', line) for line in printed] == [re.sub(figures, '', line) for line in EXPORTED.splitlines()]
    (checkout / 'label.py').write_text(PROGRAM)
    program, *arguments = shlex.split(LABEL)
    assert program == 'python'
    ended = subprocess.run([sys.executable, '-c', WITHOUT_TORCH, *arguments], cwd=checkout, capture_output=True, text=True,
                           timeout=300)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == PRINTED
    result = Image.open(checkout / arguments[-1])
    classes = words[words.index('--classes') + 1].split(', ')
    expected, = OVSegInferencer('gated_full_tiny-clip', device='cpu')(checkout / arguments[-2], classes)['predictions']
    assert (np.array(result) == expected).mean() > 0.999 and result.mode == 'P'


def test_the_program_is_short():
    assert len(PROGRAM.splitlines()) <= 30


def test_sizes_of_the_page_are_refused_and_accepted():
    refused, *accepted = map(int, re.search(r'of 16 pixels, (\d+) is refused; (\d+) and (\d+) are accepted', TEXT).groups())
    tower = SimpleNamespace(patch_size=(16, 16))
    with pytest.raises(ValueError, match=f': {accepted[0]} or {accepted[1]}$'):
        check_size((refused, 224), Windows(), tower)
    for side in accepted:
        check_size((side, 224), Windows(), tower)


def test_the_figures_are_those_of_the_code():
    assert f'torch {OLDEST_TORCH} or newer' in TEXT and f'opset {OPSET}' in TEXT
    assert f'at most {LARGEST_FILE / 1e9:.1f} GB' in TEXT
    assert onnx_file.AGREEMENT == {False: 0.999, True: 0.99} and Decoder().memory_mb == 256
