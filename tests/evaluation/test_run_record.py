import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from ovseg.evaluation import run_record
from ovseg.evaluation.label_maps import write_label_map
from ovseg.evaluation.run_record import RECORD, claimed_label_maps, recorded_words, run_settings
from ovseg.models import CLIPSegmentor
from ovseg.vocabulary.word_record import word_record

NAMES = ('a', 'b', 'far/c', 'far/d', 'near/c')
TINY = dict(name='ovseg-tiny-clip', pretrained='embedded')


@pytest.fixture
def model():
    return torch.nn.Linear(3, 2)


class Wrapped(torch.nn.Module):
    """A model in a wrapper, as that of test-time augmentation."""

    def __init__(self, module):
        super().__init__()
        self.module = module


@pytest.fixture
def cfg(labelled):
    return Config(dict(model=dict(type='Some', scale=3), test_dataloader=dict(dataset=labelled(3, 0))))


@pytest.fixture
def finish(tmp_path, cfg, model):
    """Run as far as label maps of these names; returns their folder."""
    def run(names=NAMES, folder=tmp_path / 'maps', resume=False):
        with claimed_label_maps(folder, cfg, model, resume):
            for name in names:
                with Image.open(tmp_path / 'images' / f'{name}.jpg') as image:
                    write_label_map(folder / f'{name}.png', np.zeros(image.size[::-1], np.uint8))
        return folder
    return run


def left(folder):
    return sorted(path.relative_to(folder).with_suffix('').as_posix() for path in folder.rglob('*.png'))


def resumed(folder, cfg, model):
    with claimed_label_maps(folder, cfg, model, True):
        return left(folder)


@contextmanager
def unchanged(folder):
    """Nothing in the folder is written or removed meanwhile."""
    def state():
        return {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in folder.rglob('*') if path.name != '.lock'}
    before = state()
    yield
    assert state() == before


def test_a_finished_part_is_kept(finish, cfg, model):
    folder = finish(['a', 'far/d'])
    assert resumed(folder, cfg, model) == ['a', 'far/d']


def test_label_maps_are_not_overwritten_unasked(finish, cfg, model):
    folder = finish(['far/c'])
    with unchanged(folder), pytest.raises(FileExistsError, match='go on with --resume, or choose another folder'):
        finish()


@pytest.mark.parametrize('resume', [False, True])
def test_a_run_without_label_maps_leaves_the_folder_free(resume, finish, cfg, model):
    folder = finish([])
    cfg.model.scale = 5
    finish(resume=resume)
    assert 'scale=5' in json.loads((folder / RECORD).read_text())['settings']['config']


def other_weights(cfg, model, monkeypatch):
    with torch.no_grad():
        model.weight[0, 0] += 1e-3


def other_scale(cfg, model, monkeypatch):
    cfg.model.scale = 5


def other_source(cfg, model, monkeypatch):
    monkeypatch.setattr(run_record, 'code_digest', lambda: 'f' * 64)


def other_torch(cfg, model, monkeypatch):
    monkeypatch.setattr(torch, '__version__', '3.0.0')


@pytest.mark.parametrize('change, key, lines', [
    (other_weights, 'weights', 2), (other_scale, 'config', ["-model = dict(scale=3, type='Some')"]),
    (other_source, 'software', 2), (other_torch, 'software', ['+ "torch": "3.0.0"'])])
def test_what_differs_is_named(change, key, lines, finish, cfg, model, monkeypatch):
    folder = finish(['a'])
    change(cfg, model, monkeypatch)
    with unchanged(folder), pytest.raises(ValueError, match=f'must not be mixed. Different: {key}\n') as error:
        resumed(folder, cfg, model)
    shown = [line for line in str(error.value).splitlines()[1:] if not line.startswith(('---', '+++', '@@'))]
    assert len(shown) == 2 if isinstance(lines, int) else set(lines) <= set(shown)


def test_a_checkpoint_of_the_same_name_with_other_content_is_another(finish, cfg, model, tmp_path):
    path = tmp_path / 'head.pth'
    path.write_bytes(b'1234')
    cfg.load_from = str(path)
    folder = finish(['a'])
    path.write_bytes(b'1235')
    with pytest.raises(ValueError, match='Different: checkpoint\n'):
        resumed(folder, cfg, model)


def test_code_that_the_config_imports_counts(finish, cfg, model, tmp_path, monkeypatch):
    (tmp_path / 'my_module_of_an_attention.py').write_text('SCALE = 3\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    __import__('my_module_of_an_attention')
    cfg.custom_imports = dict(imports=['ovseg', 'my_module_of_an_attention'])
    folder = finish(['a'])
    (tmp_path / 'my_module_of_an_attention.py').write_text('SCALE = 52\n')
    with pytest.raises(ValueError, match='Different: custom_imports\n'):
        resumed(folder, cfg, model)


def test_modules_of_an_imported_package_count(finish, cfg, model, tmp_path, monkeypatch):
    package = tmp_path / 'my_package_of_attentions'
    package.mkdir()
    (package / '__init__.py').write_text('from my_package_of_attentions import scale\n')
    (package / 'scale.py').write_text('SCALE = 3\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    __import__('my_package_of_attentions')
    cfg.custom_imports = dict(imports=['my_package_of_attentions'])
    folder = finish(['a'])
    (package / 'scale.py').write_text('SCALE = 52\n')
    with pytest.raises(ValueError, match='Different: custom_imports\n'):
        resumed(folder, cfg, model)


def test_what_cannot_be_built_is_a_line_that_names_the_config(finish, cfg, model):
    folder = finish(['a'])
    cfg.test_dataloader.dataset.type = 'Nope'
    with pytest.raises(ValueError, match=r'^the config: Nope is not in the .* registry'):
        resumed(folder, cfg, model)


def test_words_and_templates_are_recorded_by_content(cfg, tmp_path):
    words = tmp_path / 'words.txt'

    def settings(text, template):
        words.write_text(text)
        return run_settings(cfg, CLIPSegmentor(TINY, dict(names=str(words), templates=[template])))

    first, second, third = (settings(*given) for given in (
        ('cat\nsofa, couch\ngrass', 'a {}.'), ('cat\nsofa\ngrass', 'a {}.'), ('cat\nsofa, couch\ngrass', 'the {}.')))
    assert first['class list'] == [['cat'], ['sofa', 'couch'], ['grass']] and first['templates'] == ['a {}.']
    assert {key for key in first if first[key] != second[key]} == {'class list'}
    assert {key for key in first if first[key] != third[key]} == {'templates'}


@pytest.mark.parametrize('wrapped', [False, True])
def test_the_record_of_the_words_stands_beside_label_maps(wrapped, cfg, tmp_path):
    model = CLIPSegmentor(TINY, dict(names=['background', 'sky'], templates='plain',
                                     background=dict(count=2, max_cosine=1, words=['zebra', 'brick', 'tartan'])))
    with claimed_label_maps(tmp_path / 'maps', cfg, Wrapped(model) if wrapped else model, False):
        pass
    found = recorded_words(tmp_path / 'maps')
    assert found == word_record(model.words) and len(found['background_words']) == 2


@pytest.mark.parametrize('content', [None, '', '[]', '{"words": 3}', json.dumps(dict(settings={}, files={}))])
def test_a_folder_without_a_record_of_words(content, tmp_path):
    if content is not None:
        (tmp_path / RECORD).write_text(content)
    assert recorded_words(tmp_path) == {}


def test_wrappers_do_not_count(cfg):
    from ovseg.models.frozen_model_wrapper import FrozenModelWrapper
    model = CLIPSegmentor(TINY, dict(names=['cat', 'dog'], templates='plain'))
    assert run_settings(cfg, FrozenModelWrapper(model)) == run_settings(cfg, model)


@pytest.mark.parametrize('content', [b'', b'{"settings": 3}', b'[]', b'{"settings": {', b'\xff', None])
def test_label_maps_without_a_usable_record_are_not_mixed(content, finish, cfg, model):
    folder = finish(['a'])
    (folder / RECORD).unlink()
    if content is not None:
        (folder / RECORD).write_bytes(content)
    with unchanged(folder), pytest.raises(ValueError, match=r'nothing tells what (they|its label maps) come from'):
        resumed(folder, cfg, model)


def test_only_images_that_have_changed_are_segmented_again(finish, cfg, model, tmp_path):
    folder = finish()
    image = tmp_path / 'images' / 'far' / 'c.jpg'
    Image.new('RGB', (5, 3), 'red').save(image)
    assert resumed(folder, cfg, model) == [name for name in NAMES if name != 'far/c']
    finish(['far/c'], resume=True)
    assert resumed(folder, cfg, model) == list(NAMES)


def test_an_image_of_the_same_size_and_another_time_has_changed(finish, cfg, model, tmp_path):
    folder = finish()
    os.utime(tmp_path / 'images' / 'b.jpg', ns=(5, 7))
    assert resumed(folder, cfg, model) == ['a', 'far/c', 'far/d', 'near/c']


def test_a_changed_image_is_not_forgotten_by_a_second_kill(finish, cfg, model, tmp_path):
    folder = finish()
    os.utime(tmp_path / 'images' / 'b.jpg', ns=(5, 7))
    for _ in range(2):  # killed before b was segmented again
        assert 'b' not in resumed(folder, cfg, model)


def test_an_added_image_is_left_to_do_and_a_removed_one_remembered(finish, cfg, model, tmp_path):
    folder = finish()
    cfg.test_dataloader.dataset.indices = 2  # the setting itself may not differ: as if files had been taken away
    noted = json.loads((folder / RECORD).read_text())
    noted['settings']['config'] = run_settings(cfg, model)['config']
    (folder / RECORD).write_text(json.dumps(noted))
    resumed(folder, cfg, model)
    assert json.loads((folder / RECORD).read_text())['files'] == noted['files']


def test_a_label_map_of_unknown_origin_is_made_again(finish, cfg, model):
    folder = finish(['a'])
    noted = json.loads((folder / RECORD).read_text())
    del noted['files']['a.png']
    (folder / RECORD).write_text(json.dumps(noted))
    assert resumed(folder, cfg, model) == []


def test_a_damaged_label_map_is_made_again(finish, cfg, model):
    folder = finish()
    content = bytearray((folder / 'far/d.png').read_bytes())
    content[-20] ^= 4
    (folder / 'far/d.png').write_bytes(content)
    assert resumed(folder, cfg, model) == ['a', 'b', 'far/c', 'near/c']


def test_a_changed_mask_leaves_the_label_map(finish, cfg, model, tmp_path):
    folder = finish()
    os.utime(tmp_path / 'annotations' / 'b.png', ns=(5, 7))
    assert resumed(folder, cfg, model) == list(NAMES)


def test_a_second_run_is_refused_at_once_and_changes_nothing(finish, cfg, model):
    folder = finish(['a'])
    script = ('import sys; from pathlib import Path; from ovseg.claims import claim\n'
              'with claim(Path(sys.argv[1])): print("claimed", flush=True); sys.stdin.read()')
    with subprocess.Popen([sys.executable, '-c', script, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b'claimed\n'
        start = time.monotonic()
        with unchanged(folder), pytest.raises(BlockingIOError, match='maps is in use: another run is writing into it'):
            resumed(folder, cfg, model)
        assert time.monotonic() - start < 10
        other.kill()
    assert resumed(folder, cfg, model) == ['a']  # the killed process has left no claim


def test_a_complete_read_only_folder_is_taken_as_it_is(finish, cfg, model, monkeypatch):
    folder = finish()
    monkeypatch.setattr(os, 'access', lambda path, mode: False)
    with unchanged(folder):
        assert resumed(folder, cfg, model) == list(NAMES)
    (folder / 'a.png').unlink()
    with unchanged(folder), pytest.raises(PermissionError, match='maps cannot be written into, and not all'):
        resumed(folder, cfg, model)


def test_the_main_process_tells_the_others_what_is_wrong(finish, cfg, model, monkeypatch):
    folder = finish(['a'])
    cfg.model.scale = 5
    told = []
    monkeypatch.setattr(run_record, 'broadcast_object_list', lambda objects: told.extend(objects))
    with pytest.raises(ValueError, match='Different: config'):
        resumed(folder, cfg, model)
    monkeypatch.setattr(run_record, 'is_main_process', lambda: False)
    monkeypatch.setattr(run_record, 'broadcast_object_list', lambda objects: objects.__setitem__(0, told[0]))
    with pytest.raises(ValueError, match='Different: config'):
        resumed(folder, cfg, model)
