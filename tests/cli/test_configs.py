import os
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

import ovseg
from ovseg.cli import main
from ovseg.config import read_config
from ovseg.resources import configs_dir

LEAVES = [path for path in configs_dir().rglob('*.py') if '_base_' not in path.parts]
OWN = "_base_ = [__import__('ovseg').config_path({name!r})]\nmodel = dict(decoder=dict(logit_scale=37))\n"


@pytest.mark.parametrize('name', ['gated/gated_vit-b16_ade20k.py', 'gated_vit-b16_ade20k', 'gated_vit-b16'])
def test_the_path_of_a_config(name, capsys):
    assert main(['configs', 'path', name]) == 0
    assert capsys.readouterr().out == f'{configs_dir() / "gated" / "gated_vit-b16_ade20k.py"}\n'


def test_an_unknown_name_lists_near_ones(capsys):
    assert main(['configs', 'path', 'gatet_vit-b16']) == 1
    assert capsys.readouterr().err.startswith("ovseg: error: NAME='gatet_vit-b16' is no config of ovseg; near: gated_vit-b16, ")


@pytest.mark.slow
def test_a_copy_of_each_config_means_the_same_in_another_folder(tmp_path, capsys):
    for path in LEAVES:
        assert main(['configs', 'copy', path.relative_to(configs_dir()).as_posix(), str(tmp_path / 'new')]) == 0
        copy = tmp_path / 'new' / path.name
        assert capsys.readouterr().out == f'{copy}\n'
        assert read_config(copy, {}).to_dict() == read_config(path, {}).to_dict()
        assert 'configs/' not in copy.read_text().split('_base_')[0]


def test_a_file_is_never_replaced(tmp_path, capsys):
    (tmp_path / 'gated_vit-b16_ade20k.py').write_text('mine')
    assert main(['configs', 'copy', 'gated_vit-b16', str(tmp_path)]) == 1
    assert 'gated_vit-b16_ade20k.py exists already' in capsys.readouterr().err
    assert (tmp_path / 'gated_vit-b16_ade20k.py').read_text() == 'mine'


def test_a_config_of_ones_own_builds_on_one_of_ovseg_from_any_folder(tmp_path):
    (tmp_path / 'own.py').write_text(OWN.format(name='gated/gated_vit-b16_ade20k.py'))
    code = ("from mmengine.config import Config; cfg = Config.fromfile('own.py')\n"
            'print(cfg.model.type, cfg.model.decoder.logit_scale, cfg.model.clip.pretrained)')
    ended = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True, timeout=300,
                           env={**os.environ, 'PYTHONPATH': str(Path(ovseg.__file__).parents[1])})
    assert ended.stdout == 'CLIPSegmentor 37 openai\n', ended.stderr


def test_a_wrong_name_in_it_is_said_with_the_file(tmp_path):
    (tmp_path / 'own.py').write_text(OWN.format(name='gated/gated_vit-b17_ade20k.py'))
    with pytest.raises(ValueError, match=r"own\.py is no config: ValueError: config_path='gated/gated_vit-b17_ade20k\.py' is "
                                         r'no config of ovseg; near: gated/gated_vit-b16_ade20k\.py, '):
        read_config(tmp_path / 'own.py', {})


def test_parts_of_configs_have_their_path_as_a_name():
    assert Config.fromfile(ovseg.config_path('_base_/models/clip_vit-b16.py')).model.type == 'CLIPSegmentor'
    with pytest.raises(ValueError, match='is no config of ovseg'):
        ovseg.config_path('clip_vit-b16.py')
