"""Names with a line break and an escape code of a terminal, in messages of functions that read and write files."""
import json
import logging
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from PIL import Image

import ovseg
from ovseg.ablation.report import latex_table, markdown_table, notes_on, terminal_table
from ovseg.ablation.results import Result
from ovseg.ablation.runner import NOTE, claimed_folder
from ovseg.ablation.settings import Setting, short_names
from ovseg.apis import OVSegInferencer
from ovseg.apis.downloads import download
from ovseg.apis.image_sources import find_sources, read_image
from ovseg.claims import claim
from ovseg.data_check.conversion import claim_folder
from ovseg.datasets import LoadImage
from ovseg.engine import VocabularyCheckHook
from ovseg.image_files import read_file
from ovseg.models.decoder import Decoder
from ovseg.models.text.text_cache import load_rows, store_rows
from ovseg.models.towers.loading import load_clip
from ovseg.vocabulary import Vocabulary
from ovseg.vocabulary.word_record import word_record
from ovseg.web.uploads import read_upload

NAME = 'a\nb\x1b[31m'
QUOTED = r'a\nb\x1b[31m'


def is_one_line(message):
    assert QUOTED in message and message.isprintable(), message
    return True


@pytest.fixture
def folder(tmp_path):
    """A folder of that name, in which there are a text file and a large image, whose names have it, too."""
    folder = tmp_path / NAME
    folder.mkdir()
    (folder / f'{NAME}.jpg').write_text('text')
    Image.fromarray(np.zeros((13, 17, 3), np.uint8)).save(folder / f'{NAME}.png')
    return folder


@pytest.fixture
def logged():
    """The messages that are logged, of every level."""
    records, handler = [], logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield records
    logger.removeHandler(handler)


@pytest.mark.parametrize('fail', [
    lambda folder: (os.mkfifo(folder / 'pipe'), read_file(folder / 'pipe')),
    lambda folder: read_image(folder / f'{NAME}.jpg', 1000),
    lambda folder: read_image(folder / f'{NAME}.png', 100),
    lambda folder: find_sources(f'file://host/{NAME}.png'),
    lambda folder: find_sources(str(folder / 'no')),
    lambda folder: find_sources(f'http://[{NAME}'),
    lambda folder: download(f'http://{NAME}:port/'),
    lambda folder: OVSegInferencer(max_pixels=5 * 100)(folder / f'{NAME}.png'),
    lambda folder: LoadImage().transform(dict(img_path=str(folder / f'{NAME}.jpg'))),
    lambda folder: load_clip('ovseg-tiny-clip', str(folder)),
    lambda folder: claim_folder(folder, 'coco_object.py').__enter__(),
    lambda folder: short_names([f'x/{NAME}.py', f'y/{NAME}.py'])],
    ids=['a pipe', 'text', 'large', 'host', 'no file', 'no URL', 'port', 'without Resize', 'LoadImage', 'weights',
         'conversion', 'ablation'])
def test_an_error_is_one_line(fail, folder):
    with pytest.raises((ValueError, OSError)) as caught:
        fail(folder)
    assert is_one_line(str(caught.value))


def test_a_folder_without_images_is_quoted(tmp_path):
    (tmp_path / NAME).mkdir()
    with pytest.raises(ValueError, match='there are no images in') as caught:
        find_sources(tmp_path / NAME)
    assert is_one_line(str(caught.value))


def test_a_folder_in_use_is_quoted(folder):
    with claim(folder), pytest.raises(BlockingIOError) as caught, claim(folder):
        pass
    assert is_one_line(str(caught.value))


def test_a_folder_of_another_ablation_is_quoted(folder):
    (folder / NOTE).write_text(json.dumps(dict(other='command')))
    with pytest.raises(ValueError, match='another ablation') as caught, claimed_folder(folder, []):
        pass
    assert is_one_line(str(caught.value).splitlines()[0])


def test_warnings_of_the_text_cache_are_one_line(folder, logged):
    (folder / 'rows').write_text('text')
    assert load_rows(folder / 'rows') == {}
    store_rows(folder / f'{NAME}.jpg' / 'rows', dict(cat=torch.zeros(3)), 5)
    assert len(logged) >= 2 and all(map(is_one_line, logged))


def test_the_name_of_a_class_list_is_one_line_in_the_log(logged):
    words = SimpleNamespace(names=f'lists/{NAME}', all_names=['cat'], synonyms=[['cat']], background=None,
                            templates=f'templates/{NAME}', sentences=['a {}'], background_words=())
    encoder = SimpleNamespace(regions=None)
    model = SimpleNamespace(class_names=['cat'], decoder=Decoder(), vocabulary=words, words=words,
                            text_embeddings=torch.ones(1, 2),
                            image_encoder=encoder)
    dataset = SimpleNamespace(metainfo=dict(classes=['cat']))
    noted = {}
    hub = SimpleNamespace(update_info=noted.setdefault)
    VocabularyCheckHook().before_test(SimpleNamespace(
        model=model, test_dataloader=SimpleNamespace(dataset=dataset), message_hub=hub))
    assert is_one_line(logged[-1])
    assert noted == {f'test/{key}': value for key, value in word_record(words).items()}


def test_names_in_tables_are_one_line():
    config = str(Path(ovseg.__file__).parents[1] / 'configs' / 'demo' / 'gated_tiny-clip_demo.py')
    metrics = dict(mIoU=50.0, aAcc=60.0, mAcc=70.0)
    setting = Setting(f'{NAME}1', f'{NAME}2', config, {'test_dataloader.dataset.indices': 7}, {})
    words = dict(word_record(Vocabulary(['a', 'b', 'c'])), class_list=f'{NAME}3')
    result = Result(setting, 7, metrics, np.zeros(3), np.zeros(3), 0.0, 0.0, 0.0, words, ['a', 'b', 'c'], 0.0)
    notes = notes_on([[result]], 'full')
    assert is_one_line(notes[-1]) and '7 images only' in notes[-1]
    markdown, latex = markdown_table([[result]], notes), latex_table([[result]], notes)
    heads, _, row = markdown.splitlines()[:3]
    assert f"'{QUOTED}1' mIoU" in heads and row.startswith(f"| '{QUOTED}2' |")
    row, = [line for line in latex.splitlines() if line.startswith("'a")]
    assert row.endswith(r'\\') and '\x1b' not in markdown + latex
    table = terminal_table([result])
    assert list(table.columns[0].cells) == [f"'{QUOTED}2'"] and is_one_line(table.title) and f"{QUOTED}3'" in table.title


@pytest.mark.parametrize('content', [b'text', None])
def test_an_upload_is_quoted_without_its_folder(content, tmp_path):
    path = tmp_path / 'secret' / f'{NAME}.png'
    path.parent.mkdir()
    if content:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r'image|drop it again') as caught:
        read_upload(str(path), 1000)
    assert is_one_line(str(caught.value)) and 'secret' not in str(caught.value)
