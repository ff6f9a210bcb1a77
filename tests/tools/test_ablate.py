import csv
import re
import shlex
import shutil
from functools import wraps
from pathlib import Path

import pytest

import ovseg
from ovseg.ablation import runner, sharing
from ovseg.ablation.rows import RowWriter
from ovseg.models.dense import LastBlockEncoder, ProxyCLIPEncoder
from ovseg.models.towers import loading
from ovseg.models.towers.tiny_clip import WEIGHTS_FILE
from ovseg.vocabulary import read_class_list

DEMO = Path(ovseg.__file__).parents[1] / 'configs' / 'demo'
GATED, VANILLA = str(DEMO / 'gated_tiny-clip_demo.py'), str(DEMO / 'vanilla_tiny-clip_demo.py')
SIZES = {'a': (61, 67), 'b': (71, 53), 'c': (43, 101)}


@pytest.fixture(scope='module')
def scenes(tmp_path_factory, draw_scenes):
    return draw_scenes(tmp_path_factory.mktemp('ablation') / 'scenes', SIZES)


@pytest.fixture
def ablate(in_process, scenes):
    def run(folder, *arguments, configs=(GATED,), options=()):
        return in_process('ablate.py', *configs, *arguments, '--work-dir', folder, '--cfg-options',
                          'model.prompt_templates=plain', 'test_dataloader.num_workers=0',
                          f'test_dataloader.dataset.data_root={scenes}', *options)
    return run


@pytest.fixture
def evaluated(monkeypatch):
    """The images that were evaluated, each time by its name; ``kill_at`` so many the run is stopped as by Ctrl-C."""
    class Images(list):
        kill_at = None

    def add(self, image, *args):
        if len(images) == images.kill_at:
            raise KeyboardInterrupt
        images.append(Path(image).name)
        original(self, image, *args)

    images, original = Images(), RowWriter.add
    monkeypatch.setattr(RowWriter, 'add', add)
    return images


def rows(folder):
    with (folder / 'table.csv').open() as file:
        return list(csv.DictReader(file))


def test_every_row_has_the_score_that_its_command_prints(ablate, in_process, tmp_path):
    output = ablate(tmp_path, '--toggle', 'apply_outlier_suppression', 'global_debias_factor',
                    '--grid', 'model.model_type=SCLIP', '--limit', '2')
    table = rows(tmp_path)
    names = ['baseline', '+ apply_outlier_suppression', '+ global_debias_factor', 'model_type=SCLIP']
    assert [row['setting'] for row in table] == names and all(name in output for name in names)
    assert {(row['images'], row['limit']) for row in table} == {('2', 'first 2 images only')}
    scores = []
    for row in table:
        program, command, *arguments = shlex.split(row['command'])
        printed = in_process('test.py', arguments[0], '--work-dir', tmp_path / 'alone', *arguments[1:])
        scores += re.findall(r'aAcc: ([\d.]+)  mIoU: ([\d.]+)  mAcc: ([\d.]+)', printed)
        assert (program, command) == ('ovseg', 'test')
    assert scores == [tuple(f'{float(row[name]):.4f}' for name in ('aAcc', 'mIoU', 'mAcc')) for row in table]
    assert len(set(scores)) == 4
    assert sorted(path.name for path in tmp_path.glob('*.*')) == [
        '.lock', 'ablation.json', 'delta_gated_tiny-clip_demo.png', 'table.csv', 'table.md', 'table.tex']


@pytest.mark.slow
def test_methods_load_the_clip_once_and_score_as_alone(ablate, in_process, monkeypatch, tmp_path):
    loaded, original = [], loading.load_clip
    monkeypatch.setattr(loading, 'load_clip', wraps(original)(lambda *args, **kwargs: loaded.append(args) or original(
        *args, **kwargs)))
    encoded, tokens = [], ProxyCLIPEncoder.tokens
    monkeypatch.setattr(ProxyCLIPEncoder, 'tokens', lambda self, *args, **kwargs: encoded.append(self) or tokens(
        self, *args, **kwargs))
    methods = [str(DEMO / f'{name}_tiny-clip_demo.py') for name in ('corrclip', 'proxyclip', 'lposs', 'lposs_plus', 'resclip')]
    ablate(tmp_path / 'out', '--methods', *methods, '--limit', '2')
    assert len(loaded) == 1 and len(encoded) == 2
    table = rows(tmp_path / 'out')
    assert len(table) == 1 + len(methods) == 6
    for row in table:
        printed = in_process('test.py', *shlex.split(row['command'])[2:3], '--work-dir', tmp_path / 'alone',
                             *shlex.split(row['command'])[3:])
        found, = re.findall(r'aAcc: ([\d.]+)  mIoU: ([\d.]+)  mAcc: ([\d.]+)', printed)
        assert found == tuple(f'{float(row[name]):.4f}' for name in ('aAcc', 'mIoU', 'mAcc')), row['setting']


def test_equal_guided_encoders_of_several_rows_run_once(ablate, monkeypatch, tmp_path):
    encoded, tokens = [], ProxyCLIPEncoder.tokens
    monkeypatch.setattr(ProxyCLIPEncoder, 'tokens', lambda self, *args, **kwargs: encoded.append(self) or tokens(
        self, *args, **kwargs))
    ablate(tmp_path, '--toggle', 'apply_ctd', 'global_debias_factor', '--limit', '2',
           configs=[str(DEMO / 'proxyclip_tiny-clip_demo.py')])
    assert len(rows(tmp_path)) == 3 and len(encoded) == 2


@pytest.mark.slow
def test_settings_of_every_component_load_the_clip_once_and_score_as_alone(ablate, in_process, monkeypatch, tmp_path):
    loaded, original = [], loading.load_clip

    @wraps(original)
    def load_clip(*args, **kwargs):
        loaded.append(args)
        return original(*args, **kwargs)

    for module in (loading, sharing):
        monkeypatch.setattr(module, 'load_clip', load_clip)
    words = tmp_path / 'words.txt'
    words.write_text('\n'.join(f'{", ".join(names)}, {names[0]}s' for names in read_class_list('demo_scenes')))
    ablate(tmp_path / 'out', '--toggle', 'apply_ctd', '--limit', '2', '--grid', 'model.image_encoder.attention.type=SCLIP',
           'model.windows.crop=40', f'model.vocabulary.names={words}', 'model.image_encoder.precision=bf16',
           'model.decoder.prob_thd=0.97', 'model.windows.stride=16', options=['model.slide_crop=48', 'model.slide_stride=32'])
    assert len(loaded) == 1
    table = rows(tmp_path / 'out')
    assert len(table) == 8 and [row['class_list'] for row in table].count(str(words)) == 1
    for row in table:
        printed = in_process('test.py', *shlex.split(row['command'])[2:3], '--work-dir', tmp_path / 'alone',
                             *shlex.split(row['command'])[3:])
        found, = re.findall(r'aAcc: ([\d.]+)  mIoU: ([\d.]+)  mAcc: ([\d.]+)', printed)
        assert found == tuple(f'{float(row[name]):.4f}' for name in ('aAcc', 'mIoU', 'mAcc')), row['setting']
    assert len(loaded) == 1 + 8
    assert len({(row['mIoU'], row['aAcc']) for row in table}) >= 4  # some change no label of this image


@pytest.mark.slow
def test_vocabularies_run_the_encoder_once_and_score_as_alone(ablate, in_process, monkeypatch, tmp_path):
    encoded, tokens = [], LastBlockEncoder.tokens
    monkeypatch.setattr(LastBlockEncoder, 'tokens', lambda self, *args, **kwargs: encoded.append(self) or tokens(
        self, *args, **kwargs))
    synonyms, sentences = tmp_path / 'synonyms.txt', tmp_path / 'sentences.txt'
    synonyms.write_text('water: sand gravel\nzebra: zebra, horse\n')
    sentences.write_text('a bad photo of the {}.\na drawing of a {}.\n')
    ablate(tmp_path / 'out', '--vocabulary', 'official', 'plain', 'plural', 'article', f'draw:{synonyms}:0', 'demo_scenes',
           '--templates', 'plain', 'imagenet7', sentences, '--limit', '2')
    assert len(encoded) == 2
    table = rows(tmp_path / 'out')
    assert [row['setting'] for row in table] == [
        'baseline', 'vocabulary=plain', 'vocabulary=plural', 'vocabulary=article', f'vocabulary=draw:{synonyms}:0',
        'vocabulary=demo_scenes', 'templates=plain', 'templates=imagenet7', f'templates={sentences}']
    for row in table:
        printed = in_process('test.py', *shlex.split(row['command'])[2:3], '--work-dir', tmp_path / 'alone',
                             *shlex.split(row['command'])[3:])
        found, = re.findall(r'aAcc: ([\d.]+)  mIoU: ([\d.]+)  mAcc: ([\d.]+)', printed)
        assert found == tuple(f'{float(row[name]):.4f}' for name in ('aAcc', 'mIoU', 'mAcc')), row['setting']
    assert len({(row['mIoU'], row['aAcc']) for row in table}) >= 4


@pytest.mark.slow
def test_a_stopped_ablation_goes_on_where_it_was(ablate, evaluated, monkeypatch, capfd, tmp_path):
    weights = shutil.copy(WEIGHTS_FILE, tmp_path / 'clip.safetensors')  # equal, but two files
    axes = ('--toggle', 'apply_ctd', '--grid', f'model.pretrained={weights}', 'model.logit_scale=30')
    ablate(tmp_path / 'whole', *axes)
    assert len(evaluated) == 4 * 3

    evaluated.clear()
    evaluated.kill_at = 3 * 3 + 1
    with pytest.raises(SystemExit) as exit_:
        ablate(tmp_path / 'killed', *axes)
    output = capfd.readouterr().out
    assert exit_.value.code == 130 and 'stopped with 3 of 4 rows' in output
    assert [row['setting'] for row in rows(tmp_path / 'killed')] == ['baseline', '+ apply_ctd', 'logit_scale=30']
    assert '+ apply_ctd' in output and 'pretrained=' not in output.split('stopped with')[0].split('┏')[-1]

    evaluated.clear()
    evaluated.kill_at = None
    ablate(tmp_path / 'killed', *axes)
    assert evaluated == ['b.jpg', 'c.jpg']
    assert (tmp_path / 'killed' / 'table.csv').read_text() == (tmp_path / 'whole' / 'table.csv').read_text()

    monkeypatch.setattr(runner, 'SettingsModel', None)  # nothing is built where everything is finished
    ablate(tmp_path / 'killed', *axes)


def test_a_pass_that_was_stopped_keeps_its_images(ablate, evaluated, tmp_path):
    evaluated.kill_at = 3  # within the second image: one of two settings has it
    with pytest.raises(SystemExit):
        ablate(tmp_path, '--toggle', 'apply_ctd')
    assert not (tmp_path / 'table.csv').exists()
    evaluated.clear()
    evaluated.kill_at = None
    ablate(tmp_path, '--toggle', 'apply_ctd')
    assert evaluated == ['b.jpg', 'b.jpg', 'c.jpg', 'c.jpg']
    assert not list(tmp_path.rglob('*.part.jsonl'))


def test_names_are_printed_as_they_stand(ablate, tmp_path):
    output = ablate(tmp_path / 'out [a]', '--grid', 'model.prompt_templates=[[{},x{}]]', '--limit', '1')
    assert '│ prompt_templates=[{},x{}] │' in output
    assert f'{tmp_path / "out [a]"}: table.csv' in output


def test_several_configs_and_a_single_image(ablate, tmp_path):
    ablate(tmp_path, '--toggle', 'ignore_residual', '--limit', '1', configs=(GATED, VANILLA))
    assert [(row['benchmark'], row['setting'], row['low']) for row in rows(tmp_path)] == [
        ('gated', 'baseline', ''), ('gated', '- ignore_residual', ''), ('vanilla', 'baseline', ''),
        ('vanilla', '+ ignore_residual', '')]


def test_other_axes_may_be_added_but_not_another_ablation(ablate, evaluated, tmp_path):
    ablate(tmp_path, '--toggle', 'apply_ctd')
    evaluated.clear()
    ablate(tmp_path, '--toggle', 'apply_ctd', 'global_debias_factor')
    assert len(evaluated) == 3 and len(rows(tmp_path)) == 3
    with pytest.raises(SystemExit, match=r'holds another ablation[\s\S]*logit_scale=30[\s\S]*choose another --work-dir'):
        ablate(tmp_path, '--toggle', 'apply_ctd', options=['model.logit_scale=30'])


@pytest.mark.parametrize('arguments, message', [
    (['--toggle', 'apply_cdt'], "toggle='apply_cdt' is unknown; known: .*apply_ctd"),
    (['--grid', 'model.ctd_cfg.eps'], r'grid key model\.ctd_cfg\.eps has no values'),
    (['--grid', 'model.ctd_cfg.eps='], r'grid key model\.ctd_cfg\.eps has no values'),
    (['--grid', 'model.outlier_suppression_cfg.topk=5,7'], "no key 'topk'; did you mean 'top_k'"),
    (['--grid', 'model.logit_scal=5,7'], "no key 'logit_scal'; did you mean 'logit_scale'"),
    (['--grid', 'model.logit_scale=5,-7'], 'logit_scale=-7 must be a positive number'),
    (['--grid', 'model.model_type=SCLIP,SKLIP'], r"image_encoder\.attention\.type='SKLIP' is unknown"),
    (['--grid', 'model.pretrained=nowhere.pt'], 'nowhere.pt'),
    (['--grid', 'test_dataloader.dataset.data_root=nowhere'], r'data_root must begin with model\. or test_dataloader'),
    (['--grid', 'test_dataloader.dataset.pipeline.9.type=Resize'], 'Index 9 exceeds'),
    (['--grid', 'test_dataloader.dataset.pipeline.0.type=Foo'], 'Foo is not in the .*transform registry'),
    (['--grid', 'model.logit_scale.x=3'], 'logit_scale='),
    (['--grid', 'model.name_path=[[sky,wall]]'], r'vocabulary\.names lists 2 classes'),
    (['--toggle', 'apply_ctd', '--axes', 'axes.yaml'], '--axes replaces toggle'),
    (['--axes', 'nowhere.yaml'], 'axes file nowhere.yaml: there is no axes file'),
    (['--toggle', 'apply_ctd', '--limit', '0'], '--limit=0 must be an integer >= 1'),
    (['--toggle', 'apply_ctd', '--limit', '2', '--cfg-options', 'test_dataloader.dataset.indices=7'],
     r'--limit 2 and test_dataloader\.dataset\.indices=7 both choose images'),
    (['--vocabulary', 'plian'], "vocabulary='plian' is unknown; known: official, plain"),
    (['--vocabulary', 'voc21'], "vocabulary='voc21' has 21 classes, and the data set has 16"),
    (['--vocabulary', 'auto'], 'vocabulary=auto needs a class called background, and the data set has none'),
    (['--vocabulary', 'draw:nowhere.txt:0'], 'there is no synonyms file .*nowhere.txt'),
    (['--vocabulary', 'lower', 'lower'], 'vocabulary has lower twice'),
    (['--templates', 'imagenet'], r"vocabulary\.templates='imagenet' is neither a bundled set"),
    ([], 'nothing is varied')])
def test_what_cannot_be_run_is_refused_before_anything_runs(arguments, message, ablate, evaluated, tmp_path):
    with pytest.raises(SystemExit, match=rf'tools/ablate.py: [\s\S]*{message}'):
        ablate(tmp_path, *arguments)
    assert evaluated == [] and not list(tmp_path.iterdir())


def test_missing_data_are_named_before_anything_runs(ablate, tmp_path):
    with pytest.raises(SystemExit, match=r'tools/ablate\.py: .*nowhere.* does not exist'):
        ablate(tmp_path, '--toggle', 'apply_ctd', options=['test_dataloader.dataset.data_root=nowhere'])


@pytest.mark.parametrize('workers', [0, 1])
def test_an_error_on_the_way_is_a_line_and_what_is_done_stays(workers, ablate, evaluated, draw_scenes, capfd, tmp_path):
    scenes = draw_scenes(tmp_path / 'scenes', SIZES)
    whole = (scenes / 'images' / 'c.jpg').read_bytes()
    (scenes / 'images' / 'c.jpg').write_bytes(whole[:len(whole) // 2])  # its head is whole, and read before the first image
    options = [f'test_dataloader.dataset.data_root={scenes}', f'test_dataloader.num_workers={workers}',
               f'test_dataloader.persistent_workers={bool(workers)}']
    with pytest.raises(SystemExit, match=r'^tools/ablate\.py: .*cannot read image .*c\.jpg: .*') as stopped:
        ablate(tmp_path / 'out', '--toggle', 'apply_ctd', options=options)
    assert '\n' not in stopped.value.code
    assert 'stopped with 0 of 2 rows' in capfd.readouterr().out
    assert evaluated == ['a.jpg', 'a.jpg', 'b.jpg', 'b.jpg']
    evaluated.clear()
    (scenes / 'images' / 'c.jpg').write_bytes(whole)
    ablate(tmp_path / 'out', '--toggle', 'apply_ctd', options=options)
    assert evaluated == ['c.jpg', 'c.jpg'] and len(rows(tmp_path / 'out')) == 2


def test_tables_that_cannot_be_written_are_said(ablate, tmp_path, monkeypatch):
    (tmp_path / 'table.csv').mkdir(parents=True)
    with pytest.raises(SystemExit, match=rf'^tools/ablate\.py: error: cannot write into {tmp_path}: '):
        ablate(tmp_path, '--toggle', 'apply_ctd', '--limit', '1')


def test_a_setting_that_cannot_be_read_is_named(ablate, capfd, tmp_path):
    with pytest.raises(SystemExit) as stopped:
        ablate(tmp_path, '--toggle', 'apply_ctd', options=['model.name_path=[cat,dog'])
    assert stopped.value.code == 2 and "'model.name_path=[cat,dog': the brackets do not match" in capfd.readouterr().err
