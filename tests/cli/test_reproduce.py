import pytest

from ovseg.cli import main
from ovseg.reproduce import command
from ovseg.reproduce.presets import find_presets

OPTIONS = ['--cfg-options', 'test_dataloader.num_workers=0']


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('DATA_ROOT', str(tmp_path / 'nowhere'))


def row(report, name):
    line, = (line for line in report.splitlines() if line.startswith(f'| {name} |'))
    return [cell.strip() for cell in line.strip('|').split('|')]


def test_the_demo_has_the_score_of_its_metafile(capfd, tmp_path):
    assert main(['reproduce', 'demo/gated_tiny-clip_demo', '--out', 'report.md', *OPTIONS]) == 0
    printed = capfd.readouterr()
    expected = find_presets(['demo/gated_tiny-clip_demo'])[0].score
    shown = row(printed.out, 'demo/gated_tiny-clip_demo')
    assert abs(float(shown[2]) - expected) <= 0.1 and shown[4:6] == ['within tolerance', '60 of 60']
    assert printed.out.startswith('## Reproduced scores\n') and printed.out == (tmp_path / 'report.md').read_text()
    assert '- `test_dataloader.num_workers=0`' in printed.out
    assert 'measuring demo/gated_tiny-clip_demo' in printed.err


def test_a_preset_without_data_is_named_first_and_the_others_are_measured(capfd):
    assert main(['reproduce', 'naclip_vit-b16_voc20', 'vanilla_tiny-clip_demo', '--subset', '2', *OPTIONS]) == 1
    printed = capfd.readouterr()
    assert row(printed.out, 'naclip/naclip_vit-b16_voc20')[4] == 'not measured'
    assert row(printed.out, 'demo/vanilla_tiny-clip_demo')[5] == '2 of 60'
    problem, start = (printed.err.index(text) for text in (
        'naclip/naclip_vit-b16_voc20 cannot be measured: PascalVOC20Dataset', 'measuring demo/vanilla'))
    assert problem < start and 'DATA_ROOT' in printed.err[problem:].splitlines()[0]


def test_a_score_outside_of_the_tolerance_is_exit_code_1(capfd, monkeypatch):
    monkeypatch.setattr('ovseg.reproduce.measure.TOLERANCE', -1000)
    monkeypatch.setattr('ovseg.reproduce.measure.PER_CLASS', 0)
    assert main(['reproduce', 'vanilla_tiny-clip_demo', '--subset', '2', *OPTIONS]) == 1
    assert row(capfd.readouterr().out, 'demo/vanilla_tiny-clip_demo')[4] == 'outside'


def test_finished_presets_are_reported_after_an_interrupt(capfd, monkeypatch):
    done, measure = [], command.measure

    def interrupted(task):
        if done:
            raise KeyboardInterrupt
        done.append(task)
        return measure(task)
    monkeypatch.setattr(command, 'measure', interrupted)
    assert main(['reproduce', 'vanilla_tiny-clip_demo', 'gated_tiny-clip_demo', '--subset', '2', *OPTIONS]) == 130
    printed = capfd.readouterr().out
    assert row(printed, 'demo/vanilla_tiny-clip_demo')[5] == '2 of 60' and 'demo/gated' not in printed


def test_repeated_settings_are_all_used(monkeypatch):
    seen = []
    monkeypatch.setattr(command, 'find_presets', lambda names: [])
    monkeypatch.setattr(command, '_prepared', lambda presets, options, *rest: seen.append(options) or [])
    main(['reproduce', 'gated', *OPTIONS, '--cfg-options', 'model.logit_scale=37'])
    assert seen == [{'test_dataloader.num_workers': 0, 'model.logit_scale': 37}]


@pytest.mark.parametrize(('arguments', 'message'), [
    (['nosuch'], 'nosuch is no preset'), (['gated', '--subset', '1'], '--subset=1 must be an integer >= 2'),
    (['gated', '--cfg-options', 'model.logit_scale'], 'is not KEY=VALUE'),
    (['vanilla_tiny-clip_demo', '--subset', '3', '--cfg-options', 'test_dataloader.dataset.indices=[7,5]'],
     '--subset 3 and test_dataloader.dataset.indices=[7, 5] both choose images'),
    (['nosuch', '--out', '.'], '--out . is a folder'), (['nosuch', '--out', 'no/r.md'], '--out no/r.md: there is no folder')])
def test_wrong_arguments_are_one_line(arguments, message, capfd):
    assert main(['reproduce', *arguments]) == 1
    line, = capfd.readouterr().err.splitlines()
    assert line.startswith('ovseg: error: ') and message in line
