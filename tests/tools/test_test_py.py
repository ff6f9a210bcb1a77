import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmseg.registry import DATASETS, MODELS
from PIL import Image

import ovseg
from ovseg.registry import ATTENTIONS
from ovseg.vocabulary import read_class_list

ROOT = Path(ovseg.__file__).parents[1]
TOOL = ROOT / 'tools' / 'test.py'
DEMO = ROOT / 'configs' / 'demo'
DEMO_CONFIGS = sorted(DEMO.rglob('*.py'))
EVIL = runpy.run_path(str(ROOT / 'tests' / 'evil_checkpoints.py'), run_name='evil')['EVIL']
SIZES = {'a': (61, 67), 'b': (71, 53), 'c': (43, 101)}


@pytest.fixture(scope='module')
def scenes(tmp_path_factory, draw_scenes):
    return draw_scenes(tmp_path_factory.mktemp('evaluation') / 'scenes', SIZES)


def arguments(scenes, work_dir, *options):
    return [str(DEMO / 'gated_tiny-clip_demo.py'), '--work-dir', str(work_dir), *options,
            '--cfg-options', 'model.pretrained=None', 'model.prompt_templates=plain', 'test_dataloader.num_workers=0',
            f'test_dataloader.dataset.data_root={scenes}']


def run(folder, arguments):
    """In a process of its own, away from the repository, as a user would."""
    return subprocess.run([sys.executable, str(TOOL), *arguments], cwd=folder, capture_output=True, text=True, timeout=300,
                          env={**os.environ, 'PYTHONPATH': str(ROOT)})


@pytest.fixture(scope='module')
def evaluated(scenes):
    """The folder in which the tool has run, and its output."""
    folder = scenes.parent
    finished = run(folder, arguments(scenes, folder / 'work', '--out', str(folder / 'labels'), '--show-dir', 'images'))
    assert finished.returncode == 0, finished.stderr
    return folder, finished.stdout


def scores_in(text):
    return [float(score) for score in re.findall(r'mIoU: +([\d.]+)', text)]


def mean_iou(folder, scenes):
    hits, unions = np.zeros(16), np.zeros(16)
    for name in SIZES:
        found = np.array(Image.open(folder / f'{name}.png'))
        truth = np.array(Image.open(scenes / 'annotations' / f'{name}.png'))
        assert found.shape == truth.shape
        for k in range(16):
            hits[k] += ((found == k) & (truth == k)).sum()
            unions[k] += ((found == k) | (truth == k)).sum()
    seen = unions > 0
    return 100 * (hits[seen] / unions[seen]).mean()


def test_the_score_of_the_written_label_maps_is_printed(scenes, evaluated):
    folder, output = evaluated
    assert sorted(path.name for path in (folder / 'labels').glob('*.png')) == ['a.png', 'b.png', 'c.png']
    score, = scores_in(output)
    assert score == pytest.approx(mean_iou(folder / 'labels', scenes), abs=0.01)


@pytest.mark.slow
def test_a_batch_of_images_of_different_sizes_gives_the_same_labels(scenes, tmp_path):
    labels, scores = {}, {}
    for batch_size in (1, 2):
        out = tmp_path / str(batch_size)
        options = [option.replace('pretrained=None', 'pretrained=embedded').replace('num_workers=0', 'num_workers=1')
                   for option in arguments(scenes, tmp_path / 'work', '--out', str(out))]
        finished = run(tmp_path, [*options, f'test_dataloader.batch_size={batch_size}'])
        assert finished.returncode == 0, finished.stderr
        labels[batch_size] = np.concatenate([np.array(Image.open(out / f'{name}.png')).ravel() for name in SIZES])
        scores[batch_size], = scores_in(finished.stdout)
    assert (labels[1] == labels[2]).mean() >= 0.9999 and len(set(labels[1])) > 3
    assert scores[1] == pytest.approx(scores[2], abs=0.011)


def test_the_score_is_logged_in_the_work_dir(evaluated):
    folder, output = evaluated
    log, = (folder / 'work').rglob('*.log')
    assert scores_in(log.read_text()) == scores_in(output)


def test_every_prediction_is_painted(evaluated):
    folder, _ = evaluated
    painted = {path.name: np.array(Image.open(path)) for path in (folder / 'images').rglob('*.png')}
    assert [name[:len('test_a.')] for name in sorted(painted)] == ['test_a.', 'test_b.', 'test_c.']
    assert all(image.std() > 5 for image in painted.values())


def test_an_unknown_setting_fails_and_is_named(scenes, tmp_path):
    finished = run(tmp_path, [*arguments(scenes, tmp_path), 'model.slide_cropp=100'])
    assert finished.returncode != 0
    assert "'slide_cropp'" in finished.stderr and "did you mean 'slide_crop'" in finished.stderr


def test_a_mistyped_setting_of_the_config_fails_and_is_named(scenes, tmp_path, in_process):
    with pytest.raises(SystemExit, match="no key 'modle'; did you mean 'model'"):
        in_process('test.py', *arguments(scenes, tmp_path), 'modle.slide_crop=100')


@pytest.fixture
def built(in_process, monkeypatch, tmp_path):
    """Builds the model of a config's text with options, as the tool does before it evaluates."""
    def build(model, *options):
        config = tmp_path / 'config.py'
        config.write_text(f"_base_ = [{str(DEMO / 'gated_tiny-clip_demo.py')!r}]\nmodel = {model}\n")
        in_process('test.py', str(config), '--work-dir', str(tmp_path / 'work'), '--cfg-options', *options)
        return models.pop()

    models = []
    monkeypatch.setattr(Runner, 'test', lambda self: models.append(self.model))
    return build


FULL = {'post_processors': [dict(type='SelfAttnEnhancement'), dict(type='OutlierSuppression', top_k=7),
                            dict(type='GlobalDebias', factor=0.3), dict(type='CTD', eps=0.7)]}
NO_CTD = {'post_processors': FULL['post_processors'][:-1]}


@pytest.mark.parametrize('model, options, types', [
    (NO_CTD, ['model.apply_ctd=True'], ['SelfAttnEnhancement', 'OutlierSuppression', 'GlobalDebias', 'CTD']),
    ({'post_processors': ['CTD']}, ['model.apply_outlier_suppression=True'], ['OutlierSuppression', 'CTD']),
    (FULL, ['model.apply_ctd=False'], ['SelfAttnEnhancement', 'OutlierSuppression', 'GlobalDebias']),
    (FULL, ['model.post_processors=[GlobalDebias,CTD]'], ['GlobalDebias', 'CTD'])])
def test_options_change_the_chain(model, options, types, built):
    assert [type(module).__name__ for module in built(model, *options).post_processors.modules] == types


@pytest.mark.parametrize('option', ['model.outlier_suppression_cfg.top_k=11', 'model.post_processors.1.top_k=11'])
def test_options_reach_into_a_module(option, built):
    _, suppression, debias, ctd = built(FULL, option).post_processors.modules
    assert (suppression.top_k, debias.factor, ctd.eps) == (11, 0.3, 0.7)


def test_another_type_comes_without_the_keywords_of_the_one_before(built):
    model = dict(image_encoder=dict(attention=dict(type='NACLIP', gaussian_std=3.0, _delete_=True)))
    assert built(model, 'model.logit_scale=7').image_encoder.attend.keywords == dict(gaussian_std=3.0)
    for option in ('model.model_type=SCLIP', 'model.image_encoder.attention.type=SCLIP'):
        encoder = built(model, option).image_encoder
        assert (encoder.attend.func, encoder.attend.keywords) == (ATTENTIONS.get('SCLIP'), {})
    other = built(FULL, 'model.post_processors.1.type=CTD', 'model.post_processors.1.eps=0.4').post_processors.modules[1]
    assert (type(other).__name__, other.eps) == ('CTD', 0.4)


def test_test_time_augmentation(scenes, tmp_path, in_process):
    output = in_process('test.py', *arguments(scenes, tmp_path, '--tta', '--out', str(tmp_path / 'labels')))
    score, = scores_in(output)
    assert score == pytest.approx(mean_iou(tmp_path / 'labels', scenes), abs=0.01)


@pytest.mark.parametrize('tta', [pytest.param([], id=''), pytest.param(['--tta'], id='tta', marks=pytest.mark.slow)])
def test_a_killed_run_is_finished(tta, scenes, tmp_path, in_process):
    def finish(*options):
        return in_process('test.py', *arguments(scenes, tmp_path, *tta, '--out', str(folder), '--resume'), *options)

    folder = tmp_path / 'labels'
    finish('randomness.seed=1')  # nothing is there yet
    whole = {name: np.array(Image.open(folder / f'{name}.png')) for name in SIZES}
    (folder / 'b.png').unlink()
    Image.fromarray(np.full(SIZES['c'], 3, np.uint8)).save(folder / 'c.png')
    score, = scores_in(finish('randomness.seed=1'))
    found = {name: np.array(Image.open(folder / f'{name}.png')) for name in SIZES}
    assert np.array_equal(found['a'], whole['a']) and np.array_equal(found['b'], whole['b'])
    assert (found['c'] == 3).all()  # was there, so it was left alone
    assert score == pytest.approx(mean_iou(folder, scenes), abs=0.01)


def test_label_maps_of_unknown_origin_are_not_finished(scenes, tmp_path, in_process):
    command = arguments(scenes, tmp_path, '--out', str(tmp_path / 'labels'), '--resume')
    (tmp_path / 'labels').mkdir()
    shutil.copy(scenes / 'annotations' / 'a.png', tmp_path / 'labels')
    with pytest.raises(SystemExit, match=r'label maps without record\.json'):
        in_process('test.py', *command)


def test_resuming_needs_a_folder(scenes, tmp_path, in_process, capfd):
    with pytest.raises(SystemExit):
        in_process('test.py', *arguments(scenes, tmp_path, '--resume'))
    assert '--resume needs --out' in capfd.readouterr().err


@pytest.mark.parametrize('given', ['argument', 'load_from'])
@pytest.mark.parametrize('name', ['zip', 'legacy', 'tar', 'script'])
@pytest.mark.filterwarnings('ignore:.torch.jit:FutureWarning')
def test_a_checkpoint_runs_no_code(name, given, scenes, tmp_path, in_process, monkeypatch):
    load, path = torch.load, tmp_path / 'evil.pt'
    monkeypatch.setattr(torch, 'load', lambda *args, **kwargs: load(*args, **{'weights_only': False, **kwargs}))
    EVIL[name](path, tmp_path / 'executed', {'a': torch.zeros(3)})
    config, *options = arguments(scenes, tmp_path / 'work')
    command = [config, str(path), *options] if given == 'argument' else [config, *options, f'load_from={path}']
    with pytest.raises(SystemExit, match=f'^tools/test.py: error: {path} is no checkpoint: it cannot be read .*$'):
        in_process('test.py', *command)
    assert not (tmp_path / 'executed').exists()


def test_there_are_demo_configs():
    assert {path.stem for path in DEMO_CONFIGS} >= {'vanilla_tiny-clip_demo', 'gated_tiny-clip_demo'}


@pytest.mark.parametrize('path', DEMO_CONFIGS, ids=lambda path: path.stem)
def test_demo_configs_build(path):
    cfg = Config.fromfile(path)
    cfg.merge_from_dict({'model.clip.pretrained': None})
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        assert type(MODELS.build(cfg.model)).__name__ == cfg.model.type


@pytest.mark.parametrize('path', [path for path in DEMO_CONFIGS if path.stem.endswith('_demo')], ids=lambda path: path.stem)
def test_segmentation_configs_name_the_classes_of_their_data_set(path):
    cfg = Config.fromfile(path)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        dataset = DATASETS.build(cfg.test_dataloader.dataset)
    assert [[name] for name in dataset.metainfo['classes']] == read_class_list(cfg.model.vocabulary.names)
    assert len(dataset) == 60
