"""Methods by name: their configs on the data set of a baseline are those that ovseg has, or equal to what they would be."""
import csv
import re
import runpy
from pathlib import Path

import pytest
from mmengine.config import Config

import ovseg
from ovseg.ablation.method_configs import method_configs, method_names
from ovseg.cli import main
from ovseg.sets import ROWS
from ovseg.vocabulary import read_class_list

ROOT = Path(ovseg.__file__).parents[1]
CONFIGS = ROOT / 'configs'
TINY = ['model.clip.name=ovseg-tiny-clip', 'model.clip.pretrained=embedded', 'model.vocabulary.templates=plain',
        'test_dataloader.num_workers=0', 'test_dataloader.dataset.pipeline.1.scale=(128,128)']


def leaf(name):
    return str(CONFIGS / name.split('_vit')[0] / f'{name}.py')


def test_the_names_are_those_of_the_files():
    assert set(method_names()) == {path.stem for path in (CONFIGS / '_base_' / 'methods').glob('*.py')}
    assert method_names().index('segearth_ov-jbu') < method_names().index('segearth_ov')


def test_a_config_that_ovseg_has_is_taken(tmp_path):
    assert method_configs(['sclip', 'naclip', 'naclip_vit-b16_voc21'], [leaf('clip_vit-b16_voc21')], tmp_path) == [
        leaf('sclip_vit-b16_voc21'), leaf('naclip_vit-b16_voc21')]
    assert method_configs(['segearth_ov'], [leaf('gated_vit-b16_xbd')], tmp_path) == [leaf('segearth_ov_vit-b16_xbd')]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('baseline', ['gated_tiny-clip_demo', 'gated_full_tiny-clip_demo', 'vanilla_tiny-clip_demo'])
def test_the_demo_configs_of_methods_are_taken(baseline, tmp_path):
    demo = CONFIGS / 'demo'
    assert method_configs(['naclip', 'sclip', 'clip'], [str(demo / f'{baseline}.py')], tmp_path) == [
        str(demo / f'{name}_tiny-clip_demo.py') for name in ('naclip', 'sclip', 'vanilla')]


@pytest.mark.parametrize('change', ["model = dict(clip=dict(name='ViT-L-14'))",
                                    "test_dataloader = dict(dataset=dict(data_root='mine'))"])
def test_a_config_of_another_clip_or_data_set_is_not_taken(change, tmp_path):
    config = tmp_path / 'gated_tiny-clip_demo.py'
    config.write_text(f"_base_ = [{str(CONFIGS / 'demo' / config.name)!r}]\n{change}\n")
    with pytest.raises(ValueError, match=r'^methods=naclip: ovseg has no config of naclip with the CLIP and the data set '
                                         r'of .*: name a config file instead, .*naclip_tiny-clip_demo'):
        method_configs(['naclip'], [str(config)], tmp_path)


@pytest.mark.parametrize(('baseline', 'method', 'same'), [
    ('segearth_ov_vit-b16_loveda', 'gated', 'gated_vit-b16_loveda'),
    ('gated_vit-b16_uavid', 'segearth_ov', 'segearth_ov_vit-b16_uavid'),
    ('gated_vit-b16_mess_dram', 'naclip', 'naclip_vit-b16_mess_dram')])
def test_a_written_config_is_what_ovseg_has_where_it_has_one(baseline, method, same, tmp_path):
    """Of a baseline with another CLIP, so that the config is written; all but the CLIP is the same."""
    own = tmp_path / 'mine.py'
    own.write_text(f"_base_ = [{leaf(baseline)!r}]\nmodel = dict(clip=dict(name='ViT-L-14', pretrained='openai'))\n")
    path, = method_configs([method], [str(own)], tmp_path / 'methods')
    assert path == str(tmp_path / 'methods' / f'{method}_mine.py')
    found, expected = Config.fromfile(path).to_dict(), Config.fromfile(leaf(same)).to_dict()
    assert found['model'].pop('clip') == dict(name='ViT-L-14', pretrained='openai') != expected['model'].pop('clip')
    assert found == expected


def test_baselines_of_one_data_set_share_the_config(tmp_path):
    paths = method_configs(['sclip'], [leaf('gated_vit-b16_vdd'), leaf('segearth_ov_vit-b16_vdd')], tmp_path)
    assert paths == [str(tmp_path / 'sclip_vit-b16_vdd.py')]


@pytest.mark.parametrize(('method', 'baseline', 'message'), [
    ('sclp', 'gated_vit-b16_vdd', "'sclp' is no method and no config of ovseg; near: sclip,.*; the methods are .*, naclip"),
    ('nacclip', 'gated_vit-b16_vdd', "methods='nacclip' is no method and no config of ovseg; near: naclip,"),
    ('sclip', 'clip_vit-b16_voc21', 'depend on the method, and ovseg has none with this CLIP: name a config instead')])
def test_what_cannot_be_found_is_named(method, baseline, message, tmp_path):
    config = tmp_path / 'large.py'
    config.write_text(f"_base_ = [{leaf(baseline)!r}]\nmodel = dict(clip=dict(name='ViT-L-14'))\n")
    with pytest.raises(ValueError, match=message):
        method_configs([method], [str(config)], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize('baseline', ['segearth_ov_vit-b16_vdd', 'naclip_vit-b16_mess_cwfid'])
def test_methods_are_measured_on_remote_sensing_and_mess(baseline, tmp_path, monkeypatch, capfd):
    """On miniatures, with the tiny CLIP; each method scores as the command of its row does."""
    monkeypatch.setenv('DATA_ROOT', str(tmp_path / 'data'))
    monkeypatch.chdir(tmp_path)
    name = baseline.split('b16_')[1]
    row = ROWS[name]
    classes = len(read_class_list(row.class_list))
    if row.domain:
        runpy.run_path(str(ROOT / 'tests' / 'miniatures.py'))['draw'](name, tmp_path / 'data', range(classes))
    else:
        runpy.run_path(str(ROOT / 'tests' / 'sets' / 'test_remote_sensing.py'))['draw'](name, tmp_path / 'data', classes)
    methods = ['sclip', 'naclip' if not row.domain else 'gated', 'clearclip']
    assert main(['ablate', baseline, '--methods', *methods, '--work-dir', 'out', '--cfg-options', *TINY]) == 0
    with (tmp_path / 'out' / 'table.csv').open() as file:
        table = list(csv.DictReader(file))
    assert [line['setting'] for line in table[1:]] == methods
    capfd.readouterr()
    assert main(['test', f'out/methods/sclip_vit-b16_{name}.py', '--work-dir', 'alone', '--cfg-options', *TINY]) == 0
    score, = re.findall(r'mIoU: ([\d.]+)', ''.join(capfd.readouterr()))
    assert score == f"{float(table[1]['mIoU']):.4f}"
