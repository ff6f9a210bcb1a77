"""The page "Words": its block, its commands and its numbers."""
import json
import re
import runpy
import shlex
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from ovseg.cli import main
from ovseg.vocabulary import Vocabulary
from ovseg.vocabulary.background import LARGEST_POOL, Background
from ovseg.vocabulary.diagnosis import NEAR, SAME
from ovseg.vocabulary.word_record import word_record

NAME = 'docs/words.md'
read, blocks, commands = map(runpy.run_path(str(Path(__file__).parent / 'pages.py')).get, ('read', 'blocks', 'commands'))


def test_the_block_prints_what_the_page_says(capsys):
    code, output = (block for block in blocks(NAME) if block.kind != 'command')
    assert (code.kind, output.kind) == ('python', 'text')
    exec(compile(code.text, NAME, 'exec'), {})
    assert capsys.readouterr().out == output.text


def test_the_command_chooses_words(tmp_path, monkeypatch, capsys):
    command, *_ = commands(NAME)
    scene = Path(__file__).parents[2] / 'ovseg/datasets/resources/demo_scenes/images/006.jpg'
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'image.jpg').write_bytes(scene.read_bytes())
    assert command == 'ovseg predict image.jpg --classes "cat, sofa" --background auto --out results'
    assert main(shlex.split(command)[1:]) == 0
    found = json.loads((tmp_path / 'results' / 'results.json').read_text())['classes'][0]
    assert found['name'] == 'background' and 10 < len(found['synonyms']) <= 1 + 64
    assert f'background words of class 0: {", ".join(found["synonyms"][1:])}' in capsys.readouterr().err


def test_background_words_are_measured(tmp_path, monkeypatch, capfd):
    _, command, _ = commands(NAME)
    assert command == 'python tools/measure_background.py'
    root = Path(__file__).parents[2]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', ['measure_background.py', '--limit', '1'])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(root / 'tools' / 'measure_background.py'), run_name='__main__')
    assert not ended.value.code
    assert 'plain' in capfd.readouterr().out


def test_the_command_writes_confidence(tmp_path, monkeypatch):
    *_, command = commands(NAME)
    scene = Path(__file__).parents[2] / 'ovseg/datasets/resources/demo_scenes/images/006.jpg'
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'image.jpg').write_bytes(scene.read_bytes())
    assert command == 'ovseg predict image.jpg --classes "cat, sofa" --confidence 16 --reject 0.3 --out results'
    assert main(shlex.split(command)[1:]) == 0
    image, = json.loads((tmp_path / 'results' / 'results.json').read_text())['images']
    assert all((tmp_path / 'results' / image['files'][kind]).is_file() for kind in ('confidence', 'margin'))


def test_defaults_and_limits_are_those_of_the_code():
    text, background = read(NAME), Background()
    table = dict(re.findall(r'^\| `(\w+)` \| ([^|]+) \|', text.split('## Automatic')[1].split('\n## ')[0], flags=re.MULTILINE))
    assert table == dict(count=str(background.count), max_cosine=str(background.max_cosine),
                         words='bundled class lists of everyday scenes')
    assert set(table) == {field.name for field in fields(Background) if field.init}
    assert f'at most {LARGEST_POOL} words' in text and f'cosine over {SAME}' in text and f'cosine over {NEAR}' in text


def test_the_record_of_words_is_described():
    rows = read(NAME).split('## Record of the words in a result')[1].split('\n\n')[1].splitlines()[2:]
    assert [key for row in rows for key in re.findall(r'`(\w+)`', row.split('|')[1])] == list(word_record(Vocabulary('voc20')))
