"""The config and the commands of the page "own data set", run on folders as the page describes them."""
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS
from PIL import Image

import ovseg
from ovseg.data_check import checked_labels
from ovseg.data_check.check import check_dataset
from ovseg.data_check.checked_labels import check_labels
from ovseg.data_check.data_files import check_data_files
from ovseg.resources import configs_dir
from ovseg.tables import markdown_table

ROOT = Path(__file__).parents[2]
PAGE = 'docs/own_dataset.md'
texts, commands = map(runpy.run_path(str(Path(__file__).parent / 'pages.py')).get, ('texts', 'commands'))
BROKEN = runpy.run_path(str(ROOT / 'tests' / 'broken_datasets.py'))
CONFIG, *_ = texts(PAGE, 'python')
*FOLDERS, CHECK, EVALUATE, WITH_TTA, REPAIR = commands(PAGE)


@pytest.fixture(autouse=True)
def config_path(monkeypatch):
    """Of the branch of the commands."""
    if not hasattr(ovseg, 'config_path'):
        monkeypatch.setattr(ovseg, 'config_path', lambda name: str(configs_dir() / name), raising=False)


@pytest.fixture
def files(shell):
    """The page's folders and config; returns the label maps."""
    rng = np.random.default_rng(0)
    truths = {}
    for name, size in {'first': (61, 83), 'second': (71, 53)}.items():
        truths[name] = rng.integers(0, 3, size).astype(np.uint8)
        truths[name][0] = 255
        for folder, suffix, array in (('images', 'jpg', rng.integers(0, 256, (*size, 3))), ('labels', 'png', truths[name])):
            (shell.folder / 'my_data' / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array.astype(np.uint8)).save(shell.folder / 'my_data' / folder / f'{name}.{suffix}')
    (shell.folder / 'my_config.py').write_text(CONFIG)
    return truths


SMALL = 'test_dataloader.num_workers=0 test_dataloader.dataset.pipeline.1.scale=(2048,97)'
TOOLS = {'ovseg check-data': 'tools/check_dataset.py', 'ovseg test': 'tools/test.py',
         'ovseg convert repair': 'tools/dataset_converters/repair.py'}  # which run the same code


@pytest.fixture
def run(monkeypatch, capfd):
    """Runs a command line of the page with further options in this process; returns what it prints, and its error."""
    def run_line(line, options=''):
        command = next(command for command in TOOLS if line.startswith(command))
        monkeypatch.setattr(sys, 'argv', [TOOLS[command], *line[len(command):].split(), *options.split()])
        error = ''
        try:
            runpy.run_path(str(ROOT / TOOLS[command]), run_name='__main__')
        except SystemExit as stopped:
            error = str(stopped.code or '')
        return capfd.readouterr().out, error
    return run_line


def loop_miou(truths, folder):
    """In percent, counted pixel by pixel."""
    hits, unions = np.zeros(3), np.zeros(3)
    for name, truth in truths.items():
        for got, want in zip(np.array(Image.open(folder / f'{name}.png')).ravel().tolist(), truth.ravel().tolist()):
            if want < 255:
                hits[want] += got == want
                unions[want] += 1
                unions[got] += got != want
    return 100 * (hits[unions > 0] / unions[unions > 0]).mean()


def score(output):
    value, = re.findall(r'mIoU: +([\d.]+)', output)
    return float(value)


@pytest.mark.parametrize('line', [EVALUATE, WITH_TTA])
def test_the_config_scores_the_readers_own_folders(run, files, shell, line):
    scale = ' tta_pipeline.1.scale=(2048,97)' if line == WITH_TTA else ''
    output, error = run(line, f'--out maps --cfg-options {SMALL}{scale}')
    assert error == ''
    assert score(output) == pytest.approx(loop_miou(files, shell.folder / 'maps'), abs=0.01)


def test_the_check_is_content_with_the_readers_own_folders(run, files):
    assert run(CHECK)[0].rstrip().endswith('Complete.')


def test_a_wrong_value_is_refused_and_its_repaired_copy_scored(run, files, shell):
    for name, truth in files.items():
        Image.fromarray(np.where(truth == 255, 3, truth).astype(np.uint8)).save(shell.folder / 'my_data/labels' / f'{name}.png')
    error = run(EVALUATE, f'--cfg-options {SMALL}')[1]
    assert re.fullmatch(r'tools/test\.py: error: BaseSegDataset: 2 of 2 label files have values that are no class: 3 to 3.*, '
                        r'the first is my_data/labels/first\.png\. ovseg check-data CONFIG .*', error)
    proposed, error = run(CHECK)
    assert error and f'    {REPAIR}\n' in proposed
    output, error = run(REPAIR)
    assert error == '' and 'my_data_repaired: 2 label maps written, 0 were there' in output
    options = next(line for line in output.splitlines() if '--cfg-options' in line)
    output, error = run(EVALUATE, f'--out maps {options} {SMALL}')
    assert error == ''
    assert score(output) == pytest.approx(loop_miou(files, shell.folder / 'maps'), abs=0.01)
    lines = re.findall(r'^    (\w+=.*),$', run(REPAIR)[0], flags=re.MULTILINE)
    assert eval(f'dict({", ".join(lines)})') == dict(data_root=str(shell.folder / 'my_data_repaired'),
                                                     data_prefix=dict(img_path='images', seg_map_path='labels'))


def evaluation_of(form, cfg, warnings):
    """The outcome of an evaluation of a data set, up to the last image."""
    warnings.clear()
    try:
        check_data_files(cfg.test_dataloader.dataset)
        dataset = DATASETS.build(cfg.test_dataloader.dataset)
        check_labels(dataset, 255)
        for index in range(len(dataset)):
            dataset[index]
    except (ValueError, FileNotFoundError) as error:
        assert '\n' not in str(error)
        return 'refused'
    return 'scored, with a warning' if warnings else 'scored'


@pytest.mark.slow
def test_the_table_of_forms(tmp_path, monkeypatch):
    warnings, rows = [], []
    monkeypatch.setattr(checked_labels, 'print_log', lambda text, *_: warnings.append(text))
    with DefaultScope.overwrite_default_scope('mmseg'):
        for index, form in enumerate(BROKEN['FORMS']):
            BROKEN['make'](form, tmp_path / str(index))
            cfg = Config(BROKEN['config'](form, tmp_path / str(index)))
            found = [re.sub(r' \(\w+: .*\)$', '', finding.what) for finding in check_dataset(cfg).findings]
            repair = {None: 'nothing', '': 'no option' if found else ''}.get(form.repair, f'`{form.repair}`')
            rows.append([form.name, '; '.join(found) or 'complete', evaluation_of(form, cfg, warnings), repair])
    expected = markdown_table(['masks', '`check-data` finds', '`test`', 'repaired by'], rows)
    assert expected in (ROOT / PAGE).read_text(encoding='utf-8'), expected
