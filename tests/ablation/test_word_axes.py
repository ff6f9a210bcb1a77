from pathlib import Path

import pytest

from ovseg.ablation.axes import Axes
from ovseg.ablation.settings import all_settings
from ovseg.vocabulary import read_class_list

TEXTURES = ['water', 'brick', 'sand', 'snow', 'wood', 'gravel', 'sky', 'zebra']


@pytest.fixture
def voc21(demo, tmp_path):
    """A config on the eight first classes of the demo, the first of which is called background."""
    path = tmp_path / 'eight_tiny-clip_demo.py'
    dataset = dict(metainfo=dict(classes=['background', *TEXTURES[1:]]))
    path.write_text(f"_base_ = ['{demo}']\ntest_dataloader = dict(dataset={dataset})\n"
                    f"model = dict(vocabulary=dict(names={['background, lake', *TEXTURES[1:]]}, background='auto'))\n")
    return str(path)


def test_rows_of_vocabularies_and_templates(voc21, tmp_path):
    eight = tmp_path / 'eight.txt'
    eight.write_text('\n'.join(['background', *TEXTURES[1:-1], 'horse']))
    axes = Axes(vocabulary=['official', 'plain', 'no-background', 'auto', 'plural'], templates=['plain'])
    options = {'model.name_path': str(eight), 'model.prompt_templates': 'imagenet7'}
    rows = all_settings([voc21], axes, options, tmp_path / 'w')
    assert [row.name for row in rows] == ['baseline', 'vocabulary=plain', 'vocabulary=no-background', 'vocabulary=auto',
                                          'vocabulary=plural', 'templates=plain']
    vocabularies = [row.cfg.model.vocabulary for row in rows]
    assert [one['background'] for one in vocabularies] == ['auto', None, None, 'auto', None, 'auto']
    assert [one['templates'] for one in vocabularies] == ['imagenet7'] * 5 + ['plain']
    names = [read_class_list(one['names']) for one in vocabularies]
    assert names[1] == names[3] == [['background'], *([name] for name in TEXTURES[1:])]
    assert names[4][3] == ['snows'] and names[0] == names[5] == read_class_list(eight)
    assert len(list((tmp_path / 'w').iterdir())) == 3
    assert rows[2].points == {'vocabulary': ('no-background', '')}


@pytest.mark.parametrize('official, expected', [
    (['official'], ['baseline', 'templates=plain', 'vocabulary=plain, templates=plain']),
    ([], ['baseline', 'vocabulary=plain, templates=plain'])])
def test_the_list_of_the_config_is_a_value_of_full_combinations(official, expected, voc21, tmp_path):
    axes = Axes(vocabulary=[*official, 'plain'], templates=['plain'], combine='full')
    assert [row.name for row in all_settings([voc21], axes, {}, tmp_path / 'w')] == expected


def test_lists_with_equal_names_are_one_setting(voc21, tmp_path):
    _, plain, lower = all_settings([voc21], Axes(vocabulary=['plain', 'lower']), {}, tmp_path / 'w')
    assert plain.digest == lower.digest and plain.name != lower.name


def test_no_background_keeps_the_first_name(voc21, tmp_path):
    _, row = all_settings([voc21], Axes(vocabulary=['no-background']), {}, tmp_path / 'w')
    assert read_class_list(row.cfg.model.vocabulary['names'])[0] == ['background']


@pytest.mark.parametrize(('metainfo', 'expected'), [
    ({}, ['ground', 'crop seedling', 'weed']), (dict(classes=['weed', 'ground']), ['weed', 'ground'])])
def test_classes_of_a_data_set_of_the_table_are_those_of_its_row(metainfo, expected, demo, tmp_path):
    path = tmp_path / 'fields_tiny-clip_demo.py'
    dataset = dict(type='TableDataset', name='mess_cwfid', metainfo=metainfo, _delete_=True, pipeline=[])
    path.write_text(f"_base_ = ['{demo}']\ntest_dataloader = dict(dataset={dataset})\n"
                    f"model = dict(vocabulary=dict(names={expected}))\n")
    _, row = all_settings([str(path)], Axes(vocabulary=['lower']), {}, tmp_path / 'w')
    assert read_class_list(row.cfg.model.vocabulary['names']) == [[name] for name in expected]


@pytest.mark.parametrize('type_', ['RepeatDataset', 'DemoScenesDatase'])
def test_a_data_set_of_another_kind_is_refused(type_, demo, tmp_path):
    with pytest.raises(ValueError, match=type_):
        all_settings([demo], Axes(vocabulary=['plain']), {'test_dataloader.dataset.type': type_}, tmp_path / 'w')


def test_a_pool_of_background_words_counts_by_its_content(voc21, tmp_path):
    path, config = tmp_path / 'pool.txt', Path(voc21)
    config.write_text(config.read_text().replace("background='auto'", f'background=dict(words={str(path)!r})'))
    digests = set()
    for text in ('zebra', 'zebra\nhorse', 'zebra\nhorse\n'):
        path.write_text(text)
        digests.add(all_settings([voc21], Axes(templates=['plain']), {})[1].digest)
    assert len(digests) == 2


def test_a_file_of_templates_counts_by_its_content(demo, tmp_path):
    path = tmp_path / 'sentences.txt'
    digests = set()
    for text in ('a {}', 'the {}', 'a {}\n'):
        path.write_text(text)
        digests.add(all_settings([demo], Axes(templates=[str(path)]), {})[1].digest)
    assert len(digests) == 2
