"""Data sets in the forms that people have: what is found, what an evaluation does, and what a repaired copy scores."""
import os
import runpy
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from PIL import Image

from ovseg.data_check.check import check_dataset
from ovseg.data_check.conversion import UNFINISHED
from ovseg.data_check.repair import (
    Repair,
    built_dataset,
    config_values,
    find_pairs,
    parse_map,
    repair_of,
    repaired_labels,
    write_copy,
)
from ovseg.evaluation import LabelMapEvaluator

BROKEN = runpy.run_path(str(Path(__file__).parents[1] / 'broken_datasets.py'))
FORMS = {form.name: form for form in BROKEN['FORMS']}
REPAIRED = [name for name, form in FORMS.items() if form.repair is not None]
ABC = dict(allowed=(0, 1, 2, 255))


@pytest.fixture(autouse=True)
def mmseg_scope():
    """The effect of a config's ``default_scope``."""
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


def options(text):
    """The arguments of ``repair_of`` for the options of a command line."""
    words = text.split()
    maps = [word for word in words if '=' in word]
    rgb = words[words.index('--rgb') + 1] if '--rgb' in words else None
    return maps, rgb, '--resize' in words, '--nearest' in words


def made(name, folder):
    form = FORMS[name]
    truths = BROKEN['make'](form, folder / 'data')
    return form, truths, Config(BROKEN['config'](form, folder / 'data'))


def copy_of(name, folder):
    """A form, its label maps as they should be, and the config of its repaired copy."""
    form, truths, cfg = made(name, folder)
    dataset = built_dataset(cfg)
    write_copy(dataset, repair_of(cfg, dataset, *options(form.repair)), folder / 'copy', 2)
    cfg.test_dataloader.dataset.update(config_values(dataset, folder / 'copy'))
    return truths, cfg


@pytest.mark.parametrize('name', REPAIRED)
def test_a_repaired_copy_scores_as_a_loop_over_pixels(name, tmp_path):
    truths, cfg = copy_of(name, tmp_path)
    report = check_dataset(cfg)
    assert list(report.findings) == [] and report.images == len(truths)
    rng, hits, unions = np.random.default_rng(1), np.zeros(3), np.zeros(3)
    for stem, truth in truths.items():
        paths = list((tmp_path / 'copy' / 'labels').rglob(f'{stem}.png'))
        assert np.array_equal(np.array(Image.open(paths[0])), truth) and len(paths) == 1
        predicted = rng.integers(0, 3, truth.shape).astype(np.uint8)
        (tmp_path / 'predicted').mkdir(exist_ok=True)
        Image.fromarray(predicted).save(tmp_path / 'predicted' / f'{stem}.png')
        for want, got in zip(truth.ravel().tolist(), predicted.ravel().tolist()):
            if want != 255:
                hits[want] += want == got
                unions[want] += 1
                unions[got] += want != got
    loader = cfg.test_dataloader
    metrics = LabelMapEvaluator(cfg.test_evaluator, loader.dataset, str(tmp_path / 'predicted')).evaluate(len(truths))
    assert metrics['mIoU'] == pytest.approx(100 * (hits / unions).mean(), abs=0.006)


@pytest.mark.parametrize('name', REPAIRED)
def test_the_data_set_itself_is_only_read(name, tmp_path):
    form, _, cfg = made(name, tmp_path)

    def files():
        return {path: path.read_bytes() for path in (tmp_path / 'data').rglob('*') if path.is_file()}
    before, dataset = files(), built_dataset(cfg)
    write_copy(dataset, repair_of(cfg, dataset, *options(form.repair)), tmp_path / 'copy', 2)
    assert files() == before


@pytest.mark.parametrize(('name', 'given', 'says'), [
    ('a mask of another shape', '--resize', r'b\.png: it has 71 x 46 pixels, its image 71 x 53, which is another shape'),
    ('a mask that is cut off', '', r'b\.png: cannot read label map'),
    ('masks of half the size', '', 'its image .*: --resize'),
    ('a colour for each class', '', 'it is a colour image: --rgb grey, .* or --rgb palette'),
    ('a colour for each class', '--rgb grey', 'it has colours that are no grey: --rgb palette'),
    ('a colour for each class', '--rgb palette', 'colours that are in no palette: 0,0,0; add them by --map R,G,B=ID'),
    ('JPEG of 0 and 255', '', 'it is a JPEG, whose compression changes labels: --nearest'),
    ('a value behind the classes for void (CamVid)', '', 'values that are no class: 3; say by --map .* --map 3=255'),
    ('no images', '', 'has a label map of its name in')])
def test_what_cannot_be_repaired_is_named_with_the_option_that_is_missing(name, given, says, tmp_path):
    _, _, cfg = made(name, tmp_path)
    dataset = built_dataset(cfg)
    with pytest.raises(ValueError, match=says) as error:
        write_copy(dataset, repair_of(cfg, dataset, *options(given)), tmp_path / 'copy', 1)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(('given', 'says'), [
    ('--map 3=', 'must be OLD=NEW'), ('--map =3', 'must be OLD=NEW'), ('--map 1,2=3', 'must be OLD=NEW'),
    ('--map 3=-1', 'must be OLD=NEW'), ('--map ²=1', 'must be OLD=NEW'), ('--map 1=²', 'must be OLD=NEW'),
    ('--map 3=1 3=2', 'gives 3 twice'), ('--map 0,0,0=1', 'needs --rgb palette'), ('--nearest', 'differ by at least 32'),
    ('--nearest --map 0=0 31=1', 'differ by at least 32')])
def test_options_that_are_wrong(given, says, tmp_path):
    _, _, cfg = made('ids, and 255 for void', tmp_path)
    with pytest.raises(ValueError, match=says):
        repair_of(cfg, built_dataset(cfg), *options(given))


def test_a_palette_that_names_no_class(tmp_path):
    _, _, cfg = made('a colour for each class', tmp_path)
    cfg.test_dataloader.dataset.metainfo.palette[2] = cfg.test_dataloader.dataset.metainfo.palette[0]
    with pytest.raises(ValueError, match=r'metainfo.palette has the colour \(96, 169, 23\) twice'):
        repair_of(cfg, built_dataset(cfg), [], 'palette', False, False)
    del cfg.test_dataloader.dataset.metainfo['palette']
    with pytest.raises(ValueError, match=r'--rgb palette needs metainfo.palette of the data set with 3 colours'):
        repair_of(cfg, built_dataset(cfg), [], 'palette', False, False)


def test_a_copy_is_finished_and_made_again_where_something_has_changed(tmp_path):
    _, _, cfg = made('a value behind the classes for void (CamVid)', tmp_path)
    dataset, out = built_dataset(cfg), tmp_path / 'copy'

    def write(*maps):
        return write_copy(dataset, repair_of(cfg, dataset, list(maps), None, False, False), out, 2)[1]
    assert (write('3=255'), write('3=255')) == (4, 0)
    (out / 'labels' / 'b.png').unlink()
    assert write('3=255') == 1
    source = tmp_path / 'data' / 'labels' / 'c.png'
    os.utime(source, ns=(2 ** 62, 2 ** 62))
    assert write('3=255') == 1, 'the mask has changed since'
    os.utime(source, ns=(0, 0))
    os.utime(tmp_path / 'data' / 'images' / 'd.jpg', ns=(2 ** 62, 2 ** 62))
    assert write('3=255') == 1, 'the image has changed since'
    assert write('3=2') == 4, 'other options'
    assert set(np.unique(np.array(Image.open(out / 'labels' / 'a.png')))) == {0, 1, 2}


def test_a_copy_of_more_pairs_than_there_are_is_refused(tmp_path):
    _, _, cfg = made('ids, and 255 for void', tmp_path)
    repair = repair_of(cfg, built_dataset(cfg), [], None, False, False)
    write_copy(built_dataset(cfg), repair, tmp_path / 'copy', 2)
    (tmp_path / 'data' / 'labels' / 'c.png').unlink()
    with pytest.raises(ValueError, match=r"copy has 2 files of pairs that the data set does not have, the first is .*images/c"):
        write_copy(built_dataset(cfg), repair, tmp_path / 'copy', 2)


def test_a_wrong_number_of_threads_leaves_a_finished_copy_as_it_is(tmp_path):
    _, _, cfg = made('ids, and 255 for void', tmp_path)
    dataset = built_dataset(cfg)
    repair = repair_of(cfg, dataset, [], None, False, False)
    write_copy(dataset, repair, tmp_path / 'copy', 2)
    with pytest.raises(ValueError, match=r'^--nproc=0 must be an integer >= 1$'):
        write_copy(dataset, repair, tmp_path / 'copy', 0)
    assert not (tmp_path / 'copy' / UNFINISHED).exists()


def test_a_folder_of_others_is_refused(tmp_path):
    _, _, cfg = made('ids, and 255 for void', tmp_path)
    dataset = built_dataset(cfg)
    with pytest.raises(ValueError, match=r'is not empty and was not made by repair\.py'):
        write_copy(dataset, repair_of(cfg, dataset, [], None, False, False), tmp_path / 'data', 2)


def test_a_copy_of_another_data_set_is_refused(tmp_path):
    for name in 'xy':
        (tmp_path / name).mkdir()
        _, _, cfg = made('ids, and 255 for void', tmp_path / name)
        dataset = built_dataset(cfg)
        repair = repair_of(cfg, dataset, ['3=255'], None, False, False)
        if name == 'x':
            write_copy(dataset, repair, tmp_path / 'copy', 2)
    links = {path: os.readlink(path) for path in (tmp_path / 'copy' / 'images').iterdir()}
    with pytest.raises(ValueError, match=r'is a copy of another data set \(img_path was .*x.data.*, now .*y.data') as error:
        write_copy(dataset, repair, tmp_path / 'copy', 2)
    assert '\n' not in str(error.value)
    assert {path: os.readlink(path) for path in (tmp_path / 'copy' / 'images').iterdir()} == links


@pytest.mark.parametrize('content', ['', '{', '[]', '{}', '{"source": 7}'])
def test_a_damaged_record_is_named(content, tmp_path):
    _, _, cfg = made('ids, and 255 for void', tmp_path)
    dataset = built_dataset(cfg)
    repair = repair_of(cfg, dataset, ['3=255'], None, False, False)
    write_copy(dataset, repair, tmp_path / 'copy', 2)
    (tmp_path / 'copy' / 'repair.json').write_text(content)
    with pytest.raises(ValueError, match=r'repair\.json is damaged \('):
        write_copy(dataset, repair, tmp_path / 'copy', 2)


@pytest.mark.parametrize(('inside', 'key'), [('images', 'img_path'), ('labels/new', 'seg_map_path')])
def test_a_copy_inside_of_the_data_set_is_refused(inside, key, tmp_path):
    _, _, cfg = made('ids, and 255 for void', tmp_path)
    dataset, out = built_dataset(cfg), tmp_path / 'data' / inside
    with pytest.raises(ValueError, match=rf'is in data_prefix\.{key} of the data set'):
        write_copy(dataset, repair_of(cfg, dataset, [], None, False, False), out, 2)
    assert not (tmp_path / 'data' / 'labels' / 'new').exists()


def test_a_listed_data_set_keeps_its_list(tmp_path):
    _, _, cfg = made('ids, and 255 for void', tmp_path)
    (tmp_path / 'data' / 'list.txt').write_text('a\nd\n')
    cfg.test_dataloader.dataset.ann_file = 'list.txt'
    dataset = built_dataset(cfg)
    assert list(find_pairs(dataset).complete) == ['a', 'd']
    assert config_values(dataset, tmp_path / 'copy')['ann_file'] == ''


def test_reduced_zero_labels_and_chosen_classes_are_values_of_the_files(tmp_path):
    _, _, cfg = made('ids, and 255 for void', tmp_path)
    cfg.test_dataloader.dataset.reduce_zero_label = True
    assert repair_of(cfg, built_dataset(cfg), [], None, False, False).allowed == (0, 1, 2, 3, 255)
    palette = repair_of(cfg, built_dataset(cfg), [], 'palette', False, False)
    assert list(palette.colours.values()) == [1, 2, 3]
    chosen = dict(classes=['sky', 'wall'])
    cfg.test_dataloader.dataset = dict(type='ADE20KDataset', pipeline=BROKEN['PIPELINE'], metainfo=chosen)
    assert repair_of(cfg, built_dataset(cfg), [], None, False, False).allowed == (*range(150), 255)


def test_more_than_255_classes_are_written_with_16_bits(tmp_path):
    repair = Repair(allowed=(*range(300), 65535), ignored=65535, values={7: 65535}, wide=True)
    labels = np.arange(285, 300).reshape(3, 5).astype(np.uint16)
    labels[1, 1] = 7
    result = repaired_labels(Image.fromarray(labels), (3, 5), 1, repair)
    assert result.dtype == np.uint16
    assert result.tolist() == np.where(labels == 7, 65535, labels).tolist()


def test_an_alpha_channel_with_smooth_edges_is_refused():
    pixels = np.stack([np.zeros((3, 5)), np.full((3, 5), 7)], -1).astype(np.uint8)
    with pytest.raises(ValueError, match='alpha channel has values between 0 and 255'):
        repaired_labels(Image.fromarray(pixels), (3, 5), 1, Repair(rgb='grey', **ABC))


def test_new_values_do_not_meet_old_ones():
    """A swap is a swap, not a chain."""
    labels = np.array([[0, 1, 2], [1, 0, 255]], np.uint8)
    result = repaired_labels(Image.fromarray(labels), (2, 3), 1, Repair(values={0: 1, 1: 0}, **ABC))
    assert result.tolist() == [[1, 0, 2], [0, 1, 255]]


def test_the_map():
    assert parse_map(['11=255', '0=0', '1,2,3=4']) == ({11: 255, 0: 0}, {(1, 2, 3): 4})


def test_the_class_that_reads_16_bits_is_given_16_bits(tmp_path):
    cfg = Config(BROKEN['config'](FORMS['ids, and 255 for void'], tmp_path))
    assert not repair_of(cfg, built_dataset(cfg), [], None, False, False).wide
    cfg.test_dataloader.dataset.pipeline[2] = dict(type='LoadWideAnnotations')
    assert repair_of(cfg, built_dataset(cfg), [], None, False, False).wide


@pytest.mark.parametrize('name', [name for name in REPAIRED if FORMS[name].repair and '--nearest' not in FORMS[name].repair])
def test_the_check_proposes_the_options(name, tmp_path):
    """But for the colour of void, which is in no palette, and which the repair then asks for."""
    _, _, cfg = made(name, tmp_path)
    finding, *_ = check_dataset(cfg).findings
    assert finding.steps[-1] == f'ovseg convert repair CONFIG --out data_repaired {FORMS[name].repair.split(" --map 0,0,0")[0]}'
