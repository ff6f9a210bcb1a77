import re
from pathlib import Path

import numpy as np
import pytest

import ovseg

CONFIG = Path(ovseg.__file__).parents[1] / 'configs' / 'demo' / 'gated_tiny-clip_demo.py'


def test_superpixels_of_the_demo(in_process, tmp_path):
    arguments = (CONFIG, '--out', tmp_path / 'out', '--regions', 'type=SuperpixelRegions', 'segments=7')
    assert '60 of 60 region maps were missing' in in_process('make_regions.py', *arguments)
    files = sorted((tmp_path / 'out').glob('*.npz'))
    assert len(files) == 60 and np.load(files[0])['instance_mask'].max() > 1
    files[7].unlink()
    assert '1 of 60 region maps were missing' in in_process('make_regions.py', *arguments)


@pytest.mark.parametrize(('arguments', 'message'), [
    (('--regions', 'type=Masks'), r"--regions\.type='Masks' is unknown; known: NpzRegions, SuperpixelRegions"),
    (('--regions', 'type=SuperpixelRegions', 'count=7'), r"--regions.*'count'"),
    (('--device', 'gpu'), r"device='gpu' cannot be used: Expected one of cpu")])
def test_wrong_arguments_are_lines(in_process, capfd, tmp_path, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        in_process('make_regions.py', CONFIG, '--out', tmp_path / 'out', *arguments)
    assert stopped.value.code == 2 or re.search(message, str(stopped.value.code))
    if stopped.value.code == 2:
        assert re.search(message, capfd.readouterr().err)
