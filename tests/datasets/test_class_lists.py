from pathlib import Path

import pytest

from ovseg.datasets import bundled_class_lists, class_names
from ovseg.datasets.class_lists import CLASS_LISTS


@pytest.mark.parametrize('name', sorted(path.stem for path in CLASS_LISTS.glob('*.txt')))
def test_every_bundled_list_is_offered_and_reads_as_its_file(name):
    assert name in bundled_class_lists()
    lines = (CLASS_LISTS / f'{name}.txt').read_text(encoding='utf-8').split('\n')
    expected = [[part.strip() for part in line.replace(';', ',').split(',')] for line in lines if line]
    assert class_names(name) == expected


def test_demo_scenes_is_bundled():
    assert 'demo_scenes' in bundled_class_lists()
    assert class_names('demo_scenes')[8] == ['zebra']


def test_synonyms_in_a_list_of_strings():
    assert class_names(['cat', 'dog,  puppy', ' sea; ocean ;lake']) == [['cat'], ['dog', 'puppy'], ['sea', 'ocean', 'lake']]


def test_a_tuple_serves_as_a_list():
    assert class_names(('cat', 'dog')) == [['cat'], ['dog']]


@pytest.mark.parametrize('content', [
    'cat\ndog, puppy\n', 'cat\r\ndog, puppy\r\n', '\ufeffcat\ndog, puppy', 'cat\ndog, puppy\n\n \n',
], ids=['newlines', 'Windows newlines', 'byte order mark, no last newline', 'blank lines at the end'])
@pytest.mark.parametrize('kind', [str, Path])
def test_a_text_file(tmp_path, content, kind):
    path = tmp_path / 'classes.txt'
    path.write_bytes(content.encode())
    assert class_names(kind(path)) == [['cat'], ['dog', 'puppy']]


def test_names_are_read_as_utf8(tmp_path):
    path = tmp_path / 'classes.txt'
    path.write_bytes('façade\n木\n'.encode())
    assert class_names(path) == [['façade'], ['木']]


def test_an_unknown_list_names_the_bundled_ones_and_the_path_looked_at(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as error:
        class_names('demo_scene')
    assert "'demo_scene'" in str(error.value)
    assert str(tmp_path / 'demo_scene') in str(error.value)
    for name in bundled_class_lists():
        assert name in str(error.value)


def test_a_folder_is_no_class_list(tmp_path):
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        class_names(tmp_path)


@pytest.mark.parametrize(('classes', 'message'), [
    ([], 'the class list has no classes'),
    (['cat', ''], 'class 1 of the class list has an empty name'),
    (['cat', 'dog, ,puppy'], "class 1 of the class list has an empty name.*dog, , puppy"),
    (['cat', 'dog', 'cat'], "'cat' stands twice.*class 0 and in class 2"),
    (['cat', 'dog, cat'], "'cat' stands twice.*class 0 and in class 1"),
    (['cat', 'dog, dog'], "'dog' stands twice.*class 1 and in class 1"),
    (['cat', 7], 'class 1 of the class list is 7; a class is a string'),
    (['cat', ['dog', 'puppy']], r"class 1 of the class list is \['dog', 'puppy'\]"),
])
def test_bad_lists_are_refused(classes, message):
    with pytest.raises(ValueError, match=message):
        class_names(classes)


@pytest.mark.parametrize(('content', 'message'), [('', 'has no classes'), ('\n\n', 'has no classes'),
                                                  ('cat\n\ndog\n', 'class 1 of .* has an empty name'),
                                                  ('cat\ndog\ncat\n', 'stands twice')])
def test_bad_files_are_refused_by_name(tmp_path, content, message):
    path = tmp_path / 'classes.txt'
    path.write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        class_names(path)
    assert str(path) in str(error.value)
