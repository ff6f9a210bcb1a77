import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import ovseg
from ovseg.models.post_processors import PostProcessor
from ovseg.registry import POST_PROCESSORS

ROOT = Path(ovseg.__file__).parents[1]
SIZES = {'a': (61, 67), 'b': (71, 53), 'far/a': (43, 101)}


@pytest.fixture
def command(tmp_path, draw_scenes):
    """Arguments of both tools: scenes whose label files number classes from 1, where 0 and 255 are ignored."""
    root = draw_scenes(tmp_path / 'scenes', SIZES)
    for path in (root / 'annotations').rglob('*.png'):
        labels = np.array(Image.open(path)) + 1
        labels[:10, 20:30], labels[20:30, :10] = 0, 255
        Image.fromarray(labels).save(path)

    def arguments(*positional):
        return [ROOT / 'configs' / 'demo' / 'gated_tiny-clip_demo.py', *positional, '--cfg-options',
                'test_dataloader.num_workers=0', f'test_dataloader.dataset.data_root={root}',
                'test_dataloader.dataset.reduce_zero_label=True', 'test_evaluator.iou_metrics=[mIoU,mFscore]']
    return arguments


def table(output):
    return [line for line in output.splitlines() if line.startswith(('|', '+'))]


def means(output):
    return re.findall(r'(aAcc|m[A-Z]\w+): ([\d.]+)', output)


def test_the_table_is_that_of_the_run(command, tmp_path, in_process):
    maps = tmp_path / 'maps'
    run = in_process('test.py', *command('--work-dir', tmp_path, '--out', maps), 'model.prompt_templates=plain')
    assert len(table(run)) == 20 and len(means(run)) == 6
    again = in_process('eval_predictions.py', *command(maps))
    assert (table(again), means(again)) == (table(run), means(run))

    values = {path: np.array(Image.open(path)) for path in maps.rglob('*.png')}
    assert len(values) == 3 and set().union(*map(np.unique, values.values())) <= set(range(1, 17))
    for path, labels in values.items():
        Image.fromarray(labels - 1).save(path)
    again = in_process('eval_predictions.py', *command(maps, '--ids', 'train'))
    assert (table(again), means(again)) == (table(run), means(run))


@POST_PROCESSORS.register_module(force=True)
class BreakSomePatches(PostProcessor):
    """NaN in three patches of the last window."""
    stage = 'embeddings'

    def __call__(self, features):
        patches = features.patches.clone()
        patches[-1, 1:4] = torch.nan
        return features.replace(patches=patches)


@pytest.mark.slow
@pytest.mark.parametrize('resume', [False, True])
def test_pixels_without_a_class_score_the_same_from_files(command, tmp_path, in_process, resume):
    maps, log = tmp_path / 'maps', tmp_path / 'work'
    run = in_process('test.py', *command('--work-dir', log, '--out', maps, *['--resume'] * resume),
                     'model.prompt_templates=plain', 'model.post_processors=[BreakSomePatches]')
    values = {path: np.array(Image.open(path)) for path in maps.rglob('*.png')}
    undefined = [int((labels == 255).sum()) for labels in values.values()]
    assert len(values) == 3 and min(undefined) > 0
    again = in_process('eval_predictions.py', *command(maps))
    assert len(table(run)) == 20 and (table(again), means(again)) == (table(run), means(run))
    for output in (run, again)[:1 if resume else 2]:  # mmengine shows equal warnings once per process
        assert output.count('have no class') == 1
        assert f'WARNING - {sum(undefined)} pixels of 3 images have no class, because' in output


@pytest.mark.slow
def test_a_resumed_run_counts_the_pixels_without_a_class_of_all_label_maps(command, tmp_path, in_process):
    def finish():
        return in_process('test.py', *command('--work-dir', tmp_path / 'work', '--out', maps, '--resume'),
                          'model.prompt_templates=plain', 'model.post_processors=[BreakSomePatches]', 'randomness.seed=1')
    maps = tmp_path / 'maps'
    warning, = [line for line in finish().splitlines() if 'have no class' in line]
    (maps / 'b.png').unlink()
    again, = [line for line in finish().splitlines() if 'have no class' in line]
    undefined = [int((np.array(Image.open(path)) == 255).sum()) for path in maps.rglob('*.png')]
    assert len(undefined) == 3 and f'WARNING - {sum(undefined)} pixels of 3 images' in again
    assert again.partition('WARNING')[2] == warning.partition('WARNING')[2]


def test_boundary_iou_is_that_of_a_run_and_of_its_resumed_half(command, tmp_path, in_process):
    maps, options = tmp_path / 'maps', ['--work-dir', tmp_path / 'work', '--out', tmp_path / 'maps', '--boundary-iou']
    run = in_process('test.py', *command(*options), 'model.prompt_templates=plain')
    assert len(table(run)) == 40 and [name for name, _ in means(run)][-1] == 'mBoundaryIoU' and len(means(run)) == 7
    ids = range(1, 17)
    areas = sum(loop_areas(np.array(Image.open(path)), np.array(Image.open(tmp_path / 'scenes' / 'annotations' / name)), ids)
                for path, name in ((path, path.relative_to(maps)) for path in maps.rglob('*.png')))
    there = areas[1] > 0
    assert float(means(run)[-1][1]) == pytest.approx(100 * (areas[0][there] / areas[1][there]).mean(), abs=0.0051)
    (maps / 'b.png').unlink()
    resumed = in_process('test.py', *command(*options, '--resume'), 'model.prompt_templates=plain', 'randomness.seed=2')
    scored = in_process('eval_predictions.py', *command(maps, '--boundary-iou'))
    assert table(run) == table(resumed) == table(scored) and means(run) == means(resumed) == means(scored)
    words, = [line.partition('class list: ')[2] for line in scored.splitlines() if 'class list: ' in line]
    assert words.startswith('demo_scenes (16 classes, 16 names, sha256 ') and f'class list: {words}' in run


def loop_areas(found, ground_truth, ids):
    """Intersection and union of the boundaries of each class, by erosions of one mask after the other."""
    times = max(1, round(0.02 * np.hypot(*found.shape)))

    def boundary(mask):
        eroded = np.pad(mask, 1)
        for _ in range(times):
            eroded = cv2.erode(eroded.astype(np.uint8), np.ones((3, 3), np.uint8))
        return mask & (eroded[1:-1, 1:-1] == 0)

    scored = (ground_truth != 0) & (ground_truth != 255)
    pairs = [(boundary((found == index) & scored), boundary(ground_truth == index)) for index in ids]
    return np.array([[(a & b).sum() for a, b in pairs], [(a | b).sum() for a, b in pairs]])


def test_files_that_number_classes_otherwise_are_refused(command, tmp_path, in_process):
    for name, size in SIZES.items():
        path = tmp_path / 'maps' / f'{name}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros(size, np.uint8)).save(path)
    with pytest.raises(SystemExit, match=r'a\.png has values that are no class: 0; classes are 1 to 16'):
        in_process('eval_predictions.py', *command(tmp_path / 'maps'))


def test_missing_label_maps_are_counted(command, tmp_path, in_process):
    shutil.copytree(tmp_path / 'scenes' / 'annotations', tmp_path / 'maps')
    (tmp_path / 'maps' / 'b.png').unlink()
    with pytest.raises(SystemExit, match=r'1 of 3 label maps are missing: .*/maps/b\.png'):
        in_process('eval_predictions.py', *command(tmp_path / 'maps'))


def test_a_mistyped_setting_is_named(command, tmp_path, in_process):
    with pytest.raises(SystemExit, match="no key 'test_evalutor'; did you mean 'test_evaluator'"):
        in_process('eval_predictions.py', *command(tmp_path), 'test_evalutor.iou_metrics=[mDice]')
