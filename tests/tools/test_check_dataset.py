import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ovseg
from ovseg.datasets.demo_scenes_dataset import DEMO_SCENES

CONFIG = Path(ovseg.__file__).parents[1] / 'configs' / 'demo' / 'gated_tiny-clip_demo.py'


@pytest.fixture
def check(in_process, capfd):
    """Exit code, output and report of the tool."""
    def run(folder, *options):
        code, output = 0, ''
        try:
            output = in_process('check_dataset.py', CONFIG, '--json', folder / 'report.json', *options)
        except SystemExit as stopped:
            code = stopped.code
        return code, output or capfd.readouterr().out, json.loads((folder / 'report.json').read_text())
    return run


@pytest.fixture
def scenes(tmp_path):
    """A copy, with an option that leads there."""
    shutil.copytree(DEMO_SCENES, tmp_path / 'scenes')
    return tmp_path / 'scenes', ('--cfg-options', f'test_dataloader.dataset.data_root={tmp_path / "scenes"}')


def test_a_complete_data_set(check, tmp_path):
    code, output, report = check(tmp_path, '--all')
    assert code == 0 and output.rstrip().endswith('Complete.')
    assert report['complete'] and report['findings'] == [] and report['read'] == report['images'] == report['published'] == 60


def test_findings_are_shown_with_what_mends_them(check, scenes, tmp_path):
    folder, options = scenes
    for number in range(5):
        Image.fromarray(np.full((16, 16), 99, np.uint8)).save(folder / 'annotations' / f'{number:03d}.png')
    (folder / 'images' / '007.jpg').unlink()
    code, output, report = check(tmp_path, *options)
    assert code == 1 and output.rstrip().endswith('Not fit for evaluation.')
    assert not report['complete'] and all(finding['error'] for finding in report['findings'])
    files = {finding['what']: finding['files'] for finding in report['findings']}
    assert len(files['5 of 59 label files have values that are no class: 99 to 99']) == 5
    assert len(files['5 of 59 label files have another size than their image']) == 5
    assert len(files['1 label files have no image']) == 1
    assert 'there are 59 images' in output and 'and 2 more' in output
    assert output.count('    install ovseg anew: the scenes are part of it\n') == 2, 'each way of mending once'


def test_a_folder_that_does_not_exist(check, tmp_path):
    code, output, report = check(tmp_path, '--cfg-options', 'test_dataloader.dataset.data_root=nowhere')
    assert code == 1 and 'a part of the data set does not exist' in ' '.join(output.split())
    assert report['findings'][0]['files'] == ['nowhere/images', 'nowhere/annotations']
    assert report['images'] == 0
