import json

import pytest

from ovseg.cli import main
from ovseg.cli.catalogue import KINDS, open_clip_backbones
from ovseg.registry import ATTENTIONS, DENSE_ENCODERS, GUIDES, POST_PROCESSORS, REFINERS, REGIONS, UPSAMPLERS
from ovseg.vocabulary import bundled_class_lists


def output(capsys, *arguments):
    assert main(['list', *arguments]) == 0
    captured = capsys.readouterr()
    assert captured.err == ''
    return captured.out


@pytest.mark.parametrize('kind', list(KINDS))
def test_a_line_for_each_with_name_and_description(kind, capsys):
    lines = output(capsys, kind).splitlines()
    for line, entry in zip(lines, KINDS[kind]()):
        assert line.startswith(entry['name'] + ' ')
        assert line.endswith('  ' + entry['description'])
    assert len(lines) == len(KINDS[kind]()) > 0


@pytest.mark.parametrize('kind', list(KINDS))
def test_json_of_one_kind(kind, capsys):
    assert json.loads(output(capsys, kind, '--json')) == {kind: KINDS[kind]()}


def test_without_arguments_one_line_for_each_kind(capsys):
    _, _, *lines = output(capsys).splitlines()
    assert [line.split()[:2] for line in lines] == [[kind, str(len(entries()))] for kind, entries in KINDS.items()]


def test_everything(capsys):
    text = output(capsys, '--paths')
    found = json.loads(output(capsys, '--json'))
    assert list(found) == list(KINDS)
    for kind, entries in found.items():
        assert f'\n{kind}\n{entries[0]["name"]}' in text


def test_long_lines_are_not_broken(monkeypatch, capsys):
    monkeypatch.setenv('COLUMNS', '23')
    assert len(output(capsys, 'attentions').splitlines()) == len(registered(ATTENTIONS))


REGISTRIES = {'attentions': ATTENTIONS, 'post-processors': POST_PROCESSORS, 'dense-encoders': DENSE_ENCODERS, 'guides': GUIDES,
              'upsamplers': UPSAMPLERS, 'regions': REGIONS, 'refiners': REFINERS}


def registered(registry):
    """The names of ovseg's own types; other tests register more."""
    return [name for name, type_ in registry.module_dict.items() if type_.__module__.startswith('ovseg.')]


@pytest.mark.parametrize(('kind', 'names'), [
    *((kind, registered(registry)) for kind, registry in REGISTRIES.items()), ('class-lists', bundled_class_lists())])
def test_nothing_is_left_out(kind, names, capsys):
    assert [entry['name'] for entry in json.loads(output(capsys, kind, '--json'))[kind]] == sorted(names)


@pytest.mark.parametrize('kind', [[], ['backbones']])
def test_all_backbones(kind, capsys):
    entries = json.loads(output(capsys, *kind, '--all', '--json'))['backbones']
    assert entries == open_clip_backbones()
    assert {'clip_model': 'ViT-B-16-quickgelu', 'pretrained': 'openai'}.items() <= \
        next(entry for entry in entries if entry['name'] == 'ViT-B-16-quickgelu openai').items()


def test_all_goes_with_backbones(capsys):
    with pytest.raises(SystemExit) as finished:
        main(['list', 'configs', '--all'])
    assert finished.value.code == 2
    assert '--all goes with backbones, not with configs' in capsys.readouterr().err
