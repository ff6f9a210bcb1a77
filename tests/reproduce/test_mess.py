from pathlib import Path

import pytest

from ovseg.reproduce.measure import Measurement
from ovseg.reproduce.mess import DOMAINS, mess_tables
from ovseg.reproduce.presets import Preset, find_presets
from ovseg.reproduce.report import markdown_report

# mess/evaluation/mess_evaluation.py at cc701b5: the data sets of each domain, in its order; PAXRay-4 is the mean of four
GENERAL = ['bdd100k', 'dark_zurich', 'mhp_v1', 'foodseg103', 'atlantis', 'dram']
EARTH = ['isaid', 'isprs_potsdam', 'worldfloods', 'floodnet', 'uavid']
PAXRAY = ['paxray_lungs', 'paxray_bones', 'paxray_mediastinum', 'paxray_diaphragm']
MEDICAL = ['kvasir_instrument', 'chase_db1', 'cryonuseg']
ENGINEERING = ['corrosion_cs', 'deepcrack', 'pst900', 'zerowaste']
BIOLOGY = ['suim', 'cub_200', 'cwfid']
ALL = [*GENERAL, *EARTH, *MEDICAL, *PAXRAY, *ENGINEERING, *BIOLOGY]
SCORES = {name: 1.25 * place ** 1.5 for place, name in enumerate(ALL)}


def cells(table):
    return [[cell.strip() for cell in line.strip('|').split('|')] for line in table.splitlines()]


def tables(scores, method='naclip'):
    title, domains, datasets, _ = mess_tables({
        f'{method}/{method}_vit-b16_mess_{name}': score for name, score in scores.items()}, {})
    assert title == 'MESS:'
    return cells(domains), cells(datasets)


def average(*scores):
    return f'{sum(scores) / len(scores):.2f}'


def test_domains_and_the_mean_of_the_22_data_sets():
    heads, _, row = tables(SCORES)[0]
    assert heads == ['model', 'General', 'Earth Monitoring', 'Medical Sciences', 'Engineering', 'Agriculture and Biology',
                     'mean']
    of = {names[0]: [SCORES[name] for name in names] for names in (GENERAL, EARTH, MEDICAL, ENGINEERING, BIOLOGY)}
    of['kvasir_instrument'].append(sum(SCORES[name] for name in PAXRAY) / 4)
    everything = [score for scores in of.values() for score in scores]
    assert len(everything) == 22
    assert row == ['naclip_vit-b16', *(average(*scores) for scores in of.values()), average(*everything)]


def test_data_sets_are_listed_with_their_domain_and_paxray_once():
    _, (heads, _, *rows) = tables(SCORES)
    assert heads == ['data set', 'domain', 'naclip_vit-b16'] and len(rows) == 22 == sum(map(len, DOMAINS.values()))
    found = {name: (domain, score) for name, domain, score in rows}
    assert found['ISPRS Potsdam'] == ('Earth Monitoring', f'{SCORES["isprs_potsdam"]:.2f}')
    assert found['ZeroWaste-f'] == ('Engineering', f'{SCORES["zerowaste"]:.2f}')
    assert found['PAXRay-4'] == ('Medical Sciences', average(*(SCORES[name] for name in PAXRAY)))
    assert '–' not in {score for _, score in found.values()}


def test_a_mean_over_fewer_data_sets_says_so():
    (_, _, row), (_, _, *rows) = tables({**SCORES, 'dram': None, 'suim': None, 'cub_200': None, 'cwfid': None})
    rest = [SCORES[name] for name in GENERAL if name != 'dram']
    assert row[1] == average(*rest) + ' (5 of 6)' and row[5] == '–' and row[6].endswith(' (18 of 22)')
    assert ['DRAM', 'General', '–'] in rows


def test_paxray_counts_with_all_four_tasks_only():
    (_, _, row), (_, _, *rows) = tables({**SCORES, 'paxray_bones': None})
    assert row[3] == average(*(SCORES[name] for name in MEDICAL)) + ' (3 of 4)' and row[6].endswith(' (21 of 22)')
    assert ['PAXRay-4', 'Medical Sciences', '–'] in rows


def test_data_sets_that_were_not_asked_for_are_missing_in_the_means_and_have_no_row():
    (_, _, row), (_, _, *rows) = tables({'bdd100k': 31., 'dram': 42.})
    assert row[1:] == ['36.50 (2 of 6)', '–', '–', '–', '–', '36.50 (2 of 22)']
    assert rows == [['BDD100K', 'General', '31.00'], ['DRAM', 'General', '42.00']]


def test_models_are_rows_of_the_domains_and_columns_of_the_data_sets():
    scores = {f'{method}/{method}_vit-b16_mess_bdd100k': score for method, score in (('naclip', 31.), ('gated', None))}
    _, domains, datasets, _ = mess_tables({**scores, 'naclip/naclip_vit-b16_voc20': 79.7}, {})
    assert [row[:2] for row in cells(domains)[2:]] == [['naclip_vit-b16', '31.00 (1 of 6)'], ['gated_vit-b16', '–']]
    assert cells(datasets) == [['data set', 'domain', 'naclip_vit-b16', 'gated_vit-b16'], ['---', '---', '---:', '---:'],
                               ['BDD100K', 'General', '31.00', '–']]


def test_other_presets_have_no_such_tables():
    assert mess_tables({'naclip/naclip_vit-b16_voc20': 79.7, 'demo/gated': None}, {'demo/gated': 60}) == []


def test_data_sets_with_another_number_of_images_are_named():
    """A preparation that was stopped leaves fewer; a sample of the images is no other number."""
    images = {f'{method}/{method}_vit-b16_mess_{name}': total for method in ('gated', 'naclip')
              for name, total in (('dram', 717), ('suim', 110), ('cwfid', 60))}
    *_, line = mess_tables(dict.fromkeys(images, 1.), images)
    assert 'mess_dram (717 instead of 718), mess_cwfid (60 instead of 21)' in line and 'suim' not in line
    assert 'instead of' not in ''.join(mess_tables(dict.fromkeys(images, 1.), {'gated/gated_vit-b16_mess_suim': 110}))


def test_the_report_has_the_tables_of_what_was_measured():
    preset = Preset('naclip/naclip_vit-b16_mess_dram', Path('x.py'), None, 'published')
    missing = Preset('naclip/naclip_vit-b16_mess_suim', Path('y.py'), None, 'published')
    measured = Measurement(718, 718, 41.5, 0., 'mess_dram, 12 classes', 3., 50.)
    report = markdown_report([(preset, measured), (missing, 'no data')], {}, {})
    assert '| naclip_vit-b16 | 41.50 (1 of 6) | – | – | – | – | 41.50 (1 of 22) |' in report
    assert '| SUIM | Agriculture and Biology | – |' in report and 'instead of' not in report
    assert 'MESS' not in markdown_report([(Preset('naclip/x', Path('x.py'), 1., 'published'), 'no data')], {}, {})


@pytest.mark.parametrize('method', ['naclip', 'gated'])
def test_the_group_has_a_preset_of_every_task(method):
    found = [preset for preset in find_presets(['mess']) if preset.name.startswith(f'{method}/')]
    assert sorted(preset.config.stem for preset in found) == sorted(f'{method}_vit-b16_mess_{name}' for name in ALL)
    assert {preset.score for preset in found} == {None}, 'a published score needs its source'
