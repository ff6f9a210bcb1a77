"""``ovseg check-data``: the lines that it prints."""
import pytest

from ovseg.cli.check_data import show
from ovseg.data_check.check import Report
from ovseg.data_check.label_files import Finding

FOLDER = '/data/' + 'long/' * 31
FILES = [f'{FOLDER}{name}.png' for name in 'abcde']


@pytest.fixture(autouse=True)
def _narrow(monkeypatch):
    monkeypatch.setenv('COLUMNS', '80')


def test_paths_and_commands_stay_in_one_line(capsys):
    findings = [Finding('a label [bold] is wrong', [f'repair {FOLDER}'], FILES),
                Finding('a note', ['look'], FILES[:1], error=False)]
    show(Report('VOC', FOLDER, findings, images=5, read=5, classes=7, classes_seen=3))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f'VOC in {FOLDER}'
    start = lines.index('error: a label [bold] is wrong')
    assert lines[start:] == [
        'error: a label [bold] is wrong', *(f'    {file}' for file in FILES[:3]), '    and 2 more',
        'note: a note', f'    {FILES[0]}', 'To fix it:', f'    repair {FOLDER}', 'To fix it:', '    look',
        'Not fit for evaluation.']
    assert '3 of 7' in '\n'.join(lines)


def test_classes_of_a_data_set_that_is_missing_are_not_counted(capsys):
    show(Report('VOC', FOLDER, [Finding('there is no folder', ['get it'], [FOLDER])]))
    printed = capsys.readouterr().out
    assert 'classes' not in printed and '0 of 0' not in printed and 'images' in printed
