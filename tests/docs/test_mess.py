"""The page "MESS": its table is that of the rows, and its commands run on miniatures."""
import re
import runpy
import shlex
from argparse import ArgumentParser
from pathlib import Path

import pytest

from ovseg.cli import main, reproduce
from ovseg.reproduce.mess import DOMAINS
from ovseg.reproduce.presets import find_presets
from ovseg.sets import ROWS

NAME = 'docs/mess.md'
ROOT, read, commands = map(runpy.run_path(str(Path(__file__).parent / 'pages.py')).get, ('ROOT', 'read', 'commands'))
PIP, PREPARE, CHECK, SUBSET, WHOLE, GATED = commands(NAME)
TINY = ['--cfg-options', 'model.clip.name=ovseg-tiny-clip', 'model.clip.pretrained=embedded',
        'model.vocabulary.templates=plain', 'test_dataloader.num_workers=0',
        'test_dataloader.dataset.pipeline.1.scale=(128,48)']


def test_the_table_has_the_domains_of_the_rows():
    rows = re.findall(r'^\| ([A-Z][\w ]+) \| (.+) \|$', read(NAME), flags=re.MULTILINE)
    assert dict(rows) == {domain: ', '.join(datasets) for domain, datasets in DOMAINS.items()}


def test_the_toolkit_is_called_as_the_rows_call_it():
    assert shlex.split(PIP) == ['pip', 'install', 'mess-benchmark'] and PIP in ROWS['mess_dram'].convert[0]
    assert shlex.split(PREPARE) == ['python', '-m', 'mess.prepare_all_datasets', '--dataset_dir', 'data']
    by_hand = [row.title for row in ROWS.values() if row.domain and row.source.startswith('download')]
    assert len(by_hand) == 5 and all(title.split(' (')[0] in read(NAME).split('downloaded by hand')[0] for title in by_hand)


def test_the_data_set_is_checked(shell):
    output = shell.run(CHECK, exit_code=1)
    assert re.search(r'images, but 21 in the published\s+evaluation set', output)
    assert 'DETECTRON2_DATASETS=data python -m mess.prepare_datasets.prepare_cwfid' in output


@pytest.mark.usefixtures('checkout')
def test_what_is_there_is_measured_and_the_rest_named(capfd, monkeypatch):
    """Two of the 25 tasks in miniature, in place of all of them for time's sake."""
    draw = runpy.run_path(str(ROOT / 'tests' / 'miniatures.py'))['draw']
    draw('mess_cwfid', Path('data'), [0, 1, 2])
    presets = find_presets(['gated_vit-b16_mess_cwfid', 'gated_vit-b16_mess_suim'])
    monkeypatch.setattr('ovseg.reproduce.command.find_presets', lambda names: presets)
    assert main([*shlex.split(GATED)[1:], *TINY]) == 1
    printed = capfd.readouterr()
    assert re.search(r'^\| gated_vit-b16 \| – \| – \| – \| – \| [\d.]+ \(1 of 3\) \| [\d.]+ \(1 of 22\) \|$', printed.out, re.M)
    assert '| SUIM | Agriculture and Biology | – |' in printed.out and 'mess_cwfid (5 instead of 21)' in printed.out
    assert 'gated/gated_vit-b16_mess_suim cannot be measured' in printed.err and Path('gated.md').read_text() == printed.out


def test_the_other_lines_are_read():
    parser = ArgumentParser()
    reproduce.add_parser(parser.add_subparsers())
    for line, number in ((SUBSET, 50), (WHOLE, 50), (GATED, 25)):
        assert len(find_presets(parser.parse_args(shlex.split(line)[1:]).presets)) == number
