import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS

import ovseg

ROOT = Path(ovseg.__file__).parents[1]
TOOL, CONFIG = ROOT / 'tools' / 'train.py', ROOT / 'configs' / 'demo' / 'outlier_impute_head_tiny-clip.py'
OPTIONS = ['train_dataloader.dataset.length=8', 'train_dataloader.batch_size=4', 'train_dataloader.num_workers=0',
           'train_cfg.max_epochs=1', 'model.clip.pretrained=None', 'val_dataloader.dataset.length=8',
           'default_hooks.logger.interval=1']


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """The work dir and the output of one run, in a process of its own, away from the repository."""
    folder = tmp_path_factory.mktemp('training')
    finished = subprocess.run(
        [sys.executable, str(TOOL), str(CONFIG), '--work-dir', 'work', '--cfg-options', *OPTIONS], cwd=folder,
        capture_output=True, text=True, timeout=300, env={**os.environ, 'PYTHONPATH': str(ROOT)})
    assert finished.returncode == 0, finished.stderr
    return folder / 'work', finished.stdout


def scores_in(output):
    line, = (line for line in output.splitlines() if 'top1_n1' in line)
    return dict(re.findall(r'(top1_n\d): ([\d.]+)', line))


@pytest.fixture
def run_tool(monkeypatch, capfd):
    """Runs a tool in this process; returns its output."""
    def run(name, *arguments):
        monkeypatch.setenv('LOCAL_RANK', '0')
        monkeypatch.setattr(sys, 'argv', [name, str(CONFIG), *map(str, arguments)])
        runpy.run_path(str(ROOT / 'tools' / name), run_name='__main__')
        return capfd.readouterr().out
    return run


def test_both_heads_are_scored_side_by_side(trained):
    scores = scores_in(trained[1])
    assert set(scores) == {'top1_n1', 'top1_n4'}
    assert all(float(score) in {12.5 * hits for hits in range(9)} for score in scores.values())


def test_losses_of_both_heads_are_logged(trained):
    losses = re.findall(r'loss_n1: ([\d.]+).*loss_n4: ([\d.]+)', trained[1])
    assert len(losses) == 2 and all(0 < float(loss) < 10 for pair in losses for loss in pair)


def test_the_checkpoint_can_be_loaded_into_the_model(trained):
    cfg = Config.fromfile(CONFIG)
    cfg.merge_from_dict({'model.clip.pretrained': None})
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(cfg.model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    saved = torch.load(trained[0] / 'epoch_1.pth', map_location='cpu', weights_only=False)
    model.load_state_dict(saved['state_dict'], strict=True)
    assert not torch.equal(model.state_dict()['heads.n1.mlp.0.weight'], before['heads.n1.mlp.0.weight'])
    n1, n4 = (model.heads[name].mlp[0].weight for name in ('n1', 'n4'))
    assert not torch.equal(n1, n4)  # they started equal and were trained
    logits = model.eval()([torch.randn(3, 48, 80)])
    assert {name: tuple(value.shape) for name, value in logits.items()} == dict(n1=(1, 16), n4=(1, 16))


def test_training_goes_on_from_the_checkpoint(trained, tmp_path, run_tool):
    shutil.copy(trained[0] / 'epoch_1.pth', tmp_path)
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_1.pth'))
    output = run_tool('train.py', '--work-dir', tmp_path, '--resume', '--cfg-options', *OPTIONS, 'train_cfg.max_epochs=2')
    assert 'Epoch(train) [2]' in output and 'Epoch(train) [1]' not in output
    assert (tmp_path / 'epoch_2.pth').is_file()


def test_a_config_in_a_checkpoint_is_not_executed(trained, tmp_path, run_tool):
    """mmengine does so where a training is resumed."""
    saved = torch.load(trained[0] / 'epoch_1.pth', map_location='cpu', weights_only=False)
    saved['meta']['config'] = f"open({str(tmp_path / 'executed')!r}, 'w')"
    torch.save(saved, tmp_path / 'evil.pth')
    run_tool('train.py', '--work-dir', tmp_path, '--resume', '--cfg-options', *OPTIONS, f'load_from={tmp_path / "evil.pth"}')
    assert not (tmp_path / 'executed').exists()


def test_the_checkpoint_scores_as_it_did_in_training(trained, tmp_path, run_tool):
    output = run_tool('test.py', trained[0] / 'epoch_1.pth', '--work-dir', tmp_path, '--cfg-options',
                      'model.clip.pretrained=None', 'test_dataloader.dataset.length=8')
    assert scores_in(output) == scores_in(trained[1])


def test_the_merged_config_is_kept(trained):
    config, = trained[0].glob('outlier_impute_head*.py')
    assert Config.fromfile(config, import_custom_modules=False).train_dataloader.dataset.length == 8
