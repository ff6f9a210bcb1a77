"""The class lists of MESS, to the letter and in order.

Number of classes, and the first digits of SHA-256 of the names as JSON, computed from ``mess/datasets/register_*.py`` of MESS'
toolkit (commit cc701b5, and the package mess-benchmark 0.2 that is published: they agree).
"""
import hashlib
import json

import pytest

from ovseg.vocabulary import bundled_class_lists, read_class_list

PUBLISHED = {
    'bdd100k': (19, '43e2f291fae0'),
    'dark_zurich': (20, '378648518ccf'),
    'mhp_v1': (19, '14453427352c'),
    'foodseg103': (104, '34a3755d8500'),
    'atlantis': (56, 'b33b32103bb6'),
    'dram': (12, '1c8bfcbe1af2'),
    'isaid': (16, 'dbfe14b45635'),
    'isprs_potsdam': (6, '683cfd77589a'),
    'worldfloods': (3, 'ff0b81d52a67'),
    'floodnet': (10, 'edba5b134175'),
    'uavid': (8, 'df2ae7153901'),
    'kvasir_instrument': (2, '08a4c592200c'),
    'chase_db1': (2, 'ab5afd7c13fc'),
    'cryonuseg': (2, '3b41ad4db3bb'),
    'paxray_lungs': (2, 'dbe8f2e173c3'),
    'paxray_bones': (2, 'c07d98b603b3'),
    'paxray_mediastinum': (2, '4581900ad908'),
    'paxray_diaphragm': (2, 'f1b09613239f'),
    'corrosion_cs': (4, 'c25596cd6bc4'),
    'deepcrack': (2, '6db67ccc5b80'),
    'pst900': (5, '8f104f164f6d'),
    'zerowaste': (5, '40a786970953'),
    'suim': (8, 'ec7c5b79d61d'),
    'cub_200': (201, '008d429af795'),
    'cwfid': (3, '161831f583f2'),
}


def test_every_task_has_its_list():
    assert {name for name in bundled_class_lists() if name.startswith('mess_')} == {f'mess_{name}' for name in PUBLISHED}


@pytest.mark.parametrize('name', PUBLISHED)
def test_the_names_are_those_of_mess_one_for_each_class(name):
    synonyms = read_class_list(f'mess_{name}')
    names = [first for first, in synonyms]  # a comma in a name would have made two of it
    assert (len(names), hashlib.sha256(json.dumps(names).encode()).hexdigest()[:12]) == PUBLISHED[name]


def test_names_that_mess_has_chosen_in_place_of_the_data_sets_own():
    assert read_class_list('mess_isaid')[8:10] == [['truck or bus'], ['car']]
    assert read_class_list('mess_kvasir_instrument') == [['others'], ['tool']]
    assert read_class_list('mess_suim')[4] == ['robots (auvs/rovs/instruments)']
    assert read_class_list('mess_dark_zurich')[:2] == [['unlabeled'], ['road']]
