"""Leaves of MESS: NACLIP's windows and short side, MESS' words, and no threshold."""
from pathlib import Path

import pytest

from ovseg.sets.mess import MESS

CONFIGS = Path(__file__).parents[2] / 'configs'


@pytest.mark.parametrize('method', ['naclip', 'gated'])
@pytest.mark.parametrize('name', [row.name for row in MESS])
def test_the_protocol_is_that_of_naclip(load, method, name):
    leaf = f'{method}/{method}_vit-b16_{name}.py'
    assert len((CONFIGS / leaf).read_text().splitlines()) <= 6
    cfg, plain = load(leaf), load(f'{method}/{method}_vit-b16_ade20k.py')  # which is NACLIP's protocol, in test_leaves.py
    resize, = (step for step in cfg.test_dataloader.dataset.pipeline if step.type == 'Resize')
    assert (tuple(resize.scale), resize.keep_ratio) == ((2048, 336), True)
    assert cfg.model.vocabulary == dict(names=name, templates='imagenet80')
    assert cfg.model.decoder.get('prob_thd', 0.0) == 0.0 and cfg.test_evaluator == plain.test_evaluator
    assert (cfg.model.windows.crop, cfg.model.windows.stride, cfg.model.decoder.logit_scale) == (224, 112, 40)
    for key in ('image_encoder', 'windows', 'decoder'):
        assert cfg.model[key] == plain.model[key]
